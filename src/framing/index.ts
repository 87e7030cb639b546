export type { ChunkAllocator } from './chunk-allocator.ts'
export {
  ChunkedReader,
  DEFAULT_BORROWED_BUFFERS,
  MAX_CHUNK_SIZE,
  type BorrowedOptions,
  type ChunkedReaderOptions,
} from './chunked-reader.ts'
export { estimateMemory, type EstimateMemoryOptions, type MemoryEstimate } from './estimate-memory.ts'
export type { ChunkedReaderInput } from './open-chunk-source.ts'
export { FILE_CHUNK_SIZE, PIPE_CHUNK_SIZE, optimalChunkSize } from './optimal-chunk-size.ts'
export { DEFAULT_RANGE_SIZE, fileRanges, type FileRange, type FileRangesOptions } from './file-ranges.ts'
export { FrameCutter, type CutBlock, type FrameCutterOptions } from './frame-cutter.ts'
export { FrameFault, type FrameEnding, type FrameScanner } from './frame-scanner.ts'
export { JsonScanner, type JsonScannerOptions } from './json-scanner.ts'
export { LineScanner } from './line-scanner.ts'
export { SeqScanner } from './seq-scanner.ts'
export {
  BoundaryHandler,
  type BoundaryHandlerOptions,
  type BoundaryState,
  type Framing,
} from './boundary-handler.ts'
export { GlyphDeframer, type GlyphDeframerOptions, type OnGlyph } from './glyph-deframer.ts'
export { encodeGlyph } from './glyph-frame.ts'
export { GlyphScanner } from './glyph-scanner.ts'
export { SigmaGlyphScanner } from './sigma-glyph-scanner.ts'
export { DEFAULT_BOUNDARY_BLOCK_SIZE, DEFAULT_MAX_FRAME_LENGTH } from './limits.ts'
