import type { OffloadContext } from '../workers/index.ts'
import { ObjectGen, type ObjectIdentity } from './object-gen.ts'

/** A part to be made, or that has been made, in a slot of shared memory. */
export interface PartRequest {
  readonly slot: number
  /** Offset of the part in the object, in bytes. */
  readonly offset: number
  readonly length: number
}

/** What a worker has to know to make parts of an object. */
export interface PartsSpec {
  readonly identity: ObjectIdentity
  readonly memory: SharedArrayBuffer
  readonly slotSize: number
}

let object: ObjectGen | undefined

/** The handler of the workers: writes each part to its slot, so that no bytes travel, and answers with what it was asked. */
export function makeParts(
  requests: readonly PartRequest[],
  { workerData: { identity, memory, slotSize } }: Pick<OffloadContext<PartsSpec>, 'workerData'>,
): readonly PartRequest[] {
  if (object === undefined || !isSame(object.identity, identity))
    object = new ObjectGen(identity.seed, identity)
  for (const { slot, offset, length } of requests) {
    object.readInto(new Uint8Array(memory, slot * slotSize, length), offset)
  }
  return requests
}

function isSame(a: ObjectIdentity, b: ObjectIdentity): boolean {
  return (Object.keys(a) as (keyof ObjectIdentity)[]).every((key) => a[key] === b[key])
}
