export { DEFAULT_CHUNK_THRESHOLD, JsonChunker, type JsonChunkerOptions } from './json-chunker.ts'
export { type JsonLayout } from './json-frames.ts'
export type { BlockStart, OnInvalid, ParseBlockOptions, Reviver } from './careful-parser.ts'
export { parseBlock, type ParsedBlock } from './parse-block.ts'
export {
  stringifyBlock,
  type JsonTextFormat,
  type OnInvalidRecord,
  type StringifiedBlock,
  type Stringify,
  type StringifyBlockOptions,
} from './stringify-block.ts'
export {
  DEFAULT_MAX_VALUE_BYTES,
  DEFAULT_PARSE_BLOCK,
  JsonReader,
  type JsonReaderOptions,
} from './json-reader.ts'
export { readJson, type ByteSource, type ReadJsonOptions } from './read-json.ts'
export type { JsonFormat } from './reader-core.ts'
export { JsonSelector, type JsonSelectorOptions } from './json-selector.ts'
export type { JsonFilter, JsonToken } from './selector-core.ts'
