export { mapRecords as default } from './map-records.ts'
