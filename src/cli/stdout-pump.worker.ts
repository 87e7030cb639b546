import { servePump } from './stdout-pump.ts'

await servePump()
