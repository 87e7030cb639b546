import { workerEntry } from './worker-entry.ts'

export default workerEntry()
