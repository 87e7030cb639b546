const TRANSACTIONAL = 0x10
const CONTROL = 0x20
const ABORT = 0

/** One message as a broker stores it. */
interface StoredRecord {
  readonly offsetDelta: number
  readonly timestampDelta: bigint
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[]
}

/** A run of messages that was written at once. */
export interface StoredBatch {
  readonly firstOffset: bigint
  readonly lastOffsetDelta: number
  readonly firstTimestamp: bigint
  readonly attributes: number
  readonly producerId: bigint
  readonly records: readonly StoredRecord[]
}

/** What one fetch gives of a partition. */
export interface FetchedPartition {
  readonly records?: readonly StoredBatch[] | null
  readonly abortedTransactions?:
    | readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]
    | null
}

/** A message that a reader of committed messages sees. */
export interface VisibleRecord {
  readonly offset: bigint
  readonly timestamp: bigint
  readonly record: StoredRecord
}

/**
 * What a fetch gave in, what a reader is to see of it from `from` on out, with the offset to go on from. Messages of transactions that
 * were aborted are left out, and so are the marks that end transactions. The client's own filter knows one aborted transaction of a
 * producer in a fetch, and lets those pass whose end is not in it.
 */
export function visibleRecords(
  { records, abortedTransactions }: FetchedPartition,
  from: bigint,
): { records: VisibleRecord[]; next: bigint } {
  const visible: VisibleRecord[] = []
  const aborted = [...(abortedTransactions ?? [])].sort((a, b) => Number(a.firstOffset - b.firstOffset))
  const open = new Set<bigint>()
  let at = 0
  let next = from
  for (const batch of records ?? []) {
    const last = batch.firstOffset + BigInt(batch.lastOffsetDelta)
    for (; at < aborted.length && (aborted[at]?.firstOffset as bigint) <= last; at++)
      open.add(aborted[at]?.producerId as bigint)
    if (last >= next) next = last + 1n
    if ((batch.attributes & CONTROL) !== 0) {
      if (batch.records[0]?.key?.readInt16BE(2) === ABORT) open.delete(batch.producerId)
      continue
    }
    if ((batch.attributes & TRANSACTIONAL) !== 0 && open.has(batch.producerId)) continue
    for (const record of batch.records) {
      const offset = batch.firstOffset + BigInt(record.offsetDelta)
      if (offset >= from)
        visible.push({ offset, timestamp: batch.firstTimestamp + record.timestampDelta, record })
    }
  }
  return { records: visible, next }
}
