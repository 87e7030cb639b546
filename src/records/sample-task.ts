import type { OffloadContext } from '../workers/index.ts'
import type { DrawOptions } from './block-sampler.ts'
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
  if (format === undefined) return ranges.flatMap((range) => renderer.records(range))
  const texts = ranges.map((range) => renderer.text(range, format))
  return texts.length === 1 ? texts[0]! : Buffer.concat(texts)
}
