import { createHash } from 'node:crypto'

/** @param {Uint8Array} block */
export default (block) => createHash('sha256').update(block).digest()
