import type { OffloadContext } from '../workers/index.ts'
import { ObjectGen, type ObjectIdentity } from './object-gen.ts'

/** A part to be made. */
export interface PartRequest {
  /** Offset of the part in the object, in bytes. */
  readonly offset: number
  readonly length: number
}

let object: ObjectGen | undefined

/** The handler of the workers: writes a part to shared memory, so that no bytes travel. */
export function makePart(
  [request]: readonly PartRequest[],
  { workerData: identity, target }: Pick<OffloadContext<ObjectIdentity>, 'workerData' | 'target'>,
): Uint8Array {
  if (object === undefined || !isSame(object.identity, identity))
    object = new ObjectGen(identity.seed, identity)
  const { offset, length } = request!
  const part = target?.subarray(0, length) ?? Buffer.allocUnsafeSlow(length)
  object.readInto(part, offset)
  return part
}

function isSame(a: ObjectIdentity, b: ObjectIdentity): boolean {
  return (Object.keys(a) as (keyof ObjectIdentity)[]).every((key) => a[key] === b[key])
}
