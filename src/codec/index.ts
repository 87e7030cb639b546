export { type BlockCodec, type PackOptions, type UnpackOptions } from './block-codec.ts'
export type { BlockContext } from './container-writer.ts'
export { detectFormat, formatOfName } from './detect-format.ts'
export type { Gap } from './gap-ledger.ts'
export { DEFAULT_MAX_RATIO, StreamingDecoder, type StreamingDecoderOptions } from './streaming-decoder.ts'
export {
  DEFAULT_RESTART_EVERY,
  MAX_BLOCK_SIZE,
  StreamingEncoder,
  type PackFormat,
  type StreamingEncoderOptions,
} from './streaming-encoder.ts'
export type { CodecName } from './zlib-codecs.ts'
export { SigmaGlyphDecoder, type SigmaGlyphDecoderOptions } from './sigma-glyph-decoder.ts'
export { SigmaGlyphEncoder, type SigmaGlyphEncoderOptions } from './sigma-glyph-encoder.ts'
export { encodeSigmaGlyph, type SigmaGlyph, type SigmaHeader } from './sigma-glyph.ts'
export {
  SeekableDecoder,
  decodeRange,
  type PackedFileFacts,
  type SeekableDecoderOptions,
} from './seekable-decoder.ts'
export type { RangeInput, RangeSource } from './range-source.ts'
export { FileEncoder, encodeFile, type FileOptions, type FileProgress } from './file-encoder.ts'
export { inspectPacked, type InspectOptions, type PackedReport } from './inspect-packed.ts'
export type { MapFacts } from './block-map.ts'
export { workerCodec, type WorkerCodecOptions } from './worker-codec.ts'
