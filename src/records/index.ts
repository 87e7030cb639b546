export { BatchIterator, type BatchIteratorOptions } from './batch-iterator.ts'
export { DEFAULT_MIN_ACCEPTANCE, type DrawOptions } from './block-sampler.ts'
export { type ColumnCondition, type Conditions, type Operator } from './condition.ts'
export {
  DataStreamProcessor,
  type DataStreamProcessorOptions,
  type RecordTransformer,
} from './data-stream-processor.ts'
export { DEFAULT_MAX_PARENTS, fit, type FitOptions } from './fit.ts'
export { BatchQueue, DEFAULT_QUEUE_BATCHES, generateToQueue, type BatchSink } from './generate-to-queue.ts'
export { type IdSpec } from './id-maker.ts'
export { type Method, type ModelData } from './model-data.ts'
export { Model } from './model.ts'
export { type TableSource } from './read-rows.ts'
export { type RecordGenerator } from './record-source.ts'
export { type RecordStreamOptions } from './record-stream-options.ts'
export { RecordStream, type RecordStreamStats } from './record-stream.ts'
export { type RecordFormat } from './record-writer.ts'
export {
  parseSchema,
  type ColumnKind,
  type ColumnSchema,
  type Row,
  type Schema,
  type Value,
} from './schema.ts'
export {
  StreamingGenerator,
  type GeneratorStats,
  type StreamingGeneratorOptions,
} from './streaming-generator.ts'
export { Table, type TableOptions, type TableReadOptions } from './table.ts'
export { type UpdateOptions } from './update-model.ts'
export { evaluate, type EvaluateOptions, type Evaluation } from './evaluate.ts'
export { type PrivacyScores } from './privacy.ts'
export { type ColumnScore, type PairScore } from './quality.ts'
export { type UtilityScores } from './utility.ts'
export { report, type ReportOptions } from './report.ts'
