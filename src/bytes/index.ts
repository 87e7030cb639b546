export { DataGenerator, type DataGeneratorOptions } from './data-generator.ts'
export { type Finding } from './diagnose-page.ts'
export { OBJECT_FORMAT, type Codec, type ObjectOptions, type Seed } from './object-format.ts'
export { ObjectGen, type BytePlace, type ObjectIdentity } from './object-gen.ts'
export {
  DEFAULT_CHUNK_SIZE,
  MAX_CHUNK_SIZE,
  ObjectReader,
  type ByteRange,
  type ObjectReaderOptions,
  type RandomAccess,
} from './object-reader.ts'
export { ObjectVerifier, type ObjectVerifierOptions } from './object-verifier.ts'
export { DEFAULT_PUMP_BUFFERS, DEFAULT_PUMP_CHUNK_SIZE, pumpObject, type PumpOptions } from './pump-object.ts'
export {
  DEFAULT_MAX_RANGES,
  RangeVerifier,
  type BadRange,
  type RangeVerifierOptions,
  type VerifyReport,
} from './range-verifier.ts'
export { verify, type ByteInput, type VerifyOptions } from './verify.ts'
export {
  DEFAULT_PART_SIZE,
  MIN_PART_SIZE,
  ParallelReader,
  type ParallelReaderOptions,
} from './parallel-reader.ts'
export { pumpToDescriptor, type DescriptorPumpOptions } from './pump-to-descriptor.ts'
