import type { OffloadContext } from '../workers/index.ts'
import { BLOCK_RECORDS, type DrawOptions } from './block-sampler.ts'
import type { ModelData } from './model-data.ts'
import type { RecordFormat } from './record-writer.ts'
import { Renderer, type RecordRange } from './render.ts'
import type { Row } from './schema.ts'

/** What a worker has to know to make records. */
export interface SampleSpec {
  readonly data: ModelData
  readonly draw: DrawOptions
  /** Undefined for records as objects. */
  readonly format: RecordFormat | undefined
}

const renderers = new WeakMap<SampleSpec, Renderer>()

/** The handler of the workers: makes each range that it is sent. */
export function sampleTask(
  ranges: readonly RecordRange[],
  { workerData }: Pick<OffloadContext<SampleSpec>, 'workerData'>,
): Buffer | Row[] {
  let renderer = renderers.get(workerData)
  if (renderer === undefined)
    renderers.set(workerData, (renderer = new Renderer(workerData.data, workerData.draw)))
  const { format } = workerData
  if (format === undefined) {
    const rows: Row[] = []
    eachBlock(
      ranges,
      (range) => rows.push(...renderer.records(range)),
      () => rows,
    )
    return rows
  }
  const texts: Buffer[] = []
  eachBlock(
    ranges,
    (range) => texts.push(renderer.text(range, format)),
    () => Buffer.concat(texts),
  )
  return texts.length === 1 ? texts[0]! : Buffer.concat(texts)
}

/** Block by block, so that what was made before one that fails is delivered first. */
function eachBlock(
  ranges: readonly RecordRange[],
  make: (range: RecordRange) => void,
  partial: () => Buffer | Row[],
): void {
  for (const { from, to } of ranges) {
    for (let at = from; at < to;) {
      const end = Math.min(to, (Math.floor(at / BLOCK_RECORDS) + 1) * BLOCK_RECORDS)
      try {
        make({ from: at, to: end })
        /* v8 ignore start -- runs in worker threads, which the figures do not see; tested through them */
      } catch (error) {
        throw Object.assign(error as Error, { partial: partial() })
      }
      /* v8 ignore stop */
      at = end
    }
  }
}
