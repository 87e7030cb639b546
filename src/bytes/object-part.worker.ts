import { makePart } from './make-part.ts'

export default makePart
