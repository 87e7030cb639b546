import type { OffloadContext } from '../workers/index.ts'
import { writeCanonicalBlock } from './canonical-block.ts'

export default (records: readonly unknown[], { target }: OffloadContext): Buffer =>
  writeCanonicalBlock(records, target)
