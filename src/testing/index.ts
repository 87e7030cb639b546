export { DEFAULT_MAX_CHUNKS, anyCut, type AnyCutOptions } from './any-cut.ts'
export {
  JSON_DOCUMENT_FORMATS,
  jsonDocument,
  jsonText,
  jsonValue,
  type JsonDocument,
  type JsonDocumentFormat,
  type JsonDocumentOptions,
  type JsonTextOptions,
} from './json-arbitraries.ts'
export {
  laws,
  type CutIndependentOptions,
  type EndsCleanlyOptions,
  type ExactlyOnceOptions,
  type LawOptions,
  type MakeStage,
} from './laws.ts'
export {
  TestSink,
  TestSource,
  anyFault,
  anyPace,
  type Fault,
  type Pace,
  type TestStreamOptions,
} from './test-streams.ts'
