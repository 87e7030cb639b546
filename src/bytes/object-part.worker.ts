import { makeParts } from './make-parts.ts'

export default makeParts
