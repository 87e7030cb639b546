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

/** The handler of the workers: makes the range that it is sent. Where it fails it reports how many records it has made. */
export function sampleTask(
  [range]: readonly RecordRange[],
  { workerData, target, report }: Pick<OffloadContext<SampleSpec>, 'workerData' | 'target' | 'report'>,
): Buffer | Row[] {
  let renderer = renderers.get(workerData)
  if (renderer === undefined)
    renderers.set(workerData, (renderer = new Renderer(workerData.data, workerData.draw)))
  const { format } = workerData
  try {
    return format === undefined ? renderer.records(range!) : renderer.text(range!, format, target)
  } catch (error) {
    report(renderer.made)
    throw error
  }
}
