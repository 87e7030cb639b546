import type { Row } from './schema.ts'

/** A batch on its way out of a stream of records: as records, or as text. */
export interface Produced {
  readonly records?: readonly Row[]
  readonly text?: Buffer
  /** Records in it; 0 for what frames them. */
  readonly count: number
  /** Number of the first. */
  readonly index: number
}
