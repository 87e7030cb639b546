import { CodecError } from '../errors.ts'
import type { StatsCounter } from '../flow/index.ts'
import type { BlockCore, BlockTask } from './block-stage.ts'
import { checkHeader } from './check-header.ts'
import { ContainerMember, memberError } from './container-member.ts'
import { ContainerParser, isKnownType, type FoundGlyph, type Verdict } from './container-parser.ts'
import { END_BYTES, FILE_BYTES } from './container-writer.ts'
import { checkRaw, decodeBlock, placeOf, type CodecTable, type GlyphPlace } from './decode-block.ts'
import { readFilePayload, type FileFacts } from './file-glyph.ts'
import { GapLedger, type Gap } from './gap-ledger.ts'
import { Gate } from './gate.ts'
import { GLYPH, masked, type GlyphHeader } from './glyph-header.ts'
import { contextOf, MAX_CONTEXT_BYTES } from './zlib-codecs.ts'

export interface ContainerReaderOptions {
  readonly codecs: CodecTable
  readonly recover: boolean
  readonly fill: boolean
  readonly onGap: (gap: Gap) => void
  readonly maxBlockSize: number
  readonly maxRatio: number
  readonly workers: number
}

/** Reads the glyph container, see docs/container.md: finds glyphs, unpacks blocks side by side, and checks all that there is to check. */
export class ContainerReader implements BlockCore {
  readonly #options: ContainerReaderOptions
  readonly #counter: StatsCounter
  readonly #parser: ContainerParser
  readonly #ledger: GapLedger
  readonly #gate: Gate
  /** Gaps that come before the block that was found last. */
  readonly #ready: BlockTask[] = []
  #member: ContainerMember | undefined
  #ended = false
  #drained = false
  #lastReason = ''

  constructor(options: ContainerReaderOptions, counter: StatsCounter) {
    this.#options = options
    this.#counter = counter
    this.#gate = new Gate(options.workers + 1)
    this.#ledger = new GapLedger((gap) => {
      counter.packing!.gaps++
      options.onGap(gap)
    }, options.fill)
    this.#parser = new ContainerParser({
      recover: options.recover,
      judge: (header, offset) => this.#judge(header, offset),
      onInvalid: (bytes, offset) => this.#onInvalid(bytes, offset),
    })
  }

  /** Blocks that need the one before are unpacked one after the other, so several runs of them must be at hand. */
  get window(): number {
    const { workers } = this.#options
    const restartEvery = Math.min(this.#member?.facts?.restartEvery ?? 0, MAX_CHAIN)
    return restartEvery > 1 ? workers * restartEvery + 2 : 2 * workers + 2
  }

  write(chunk: Buffer): void {
    this.#parser.write(chunk)
  }

  end(): void {
    this.#ended = true
  }

  next(): BlockTask | undefined {
    for (;;) {
      const ready = this.#ready.shift()
      if (ready) return ready
      const glyph = this.#parser.next()
      if (glyph !== undefined) this.#take(glyph)
      else if (!this.#ended || this.#drained) return undefined
      else if (!this.#parser.end()) this.#finishInput()
    }
  }

  finish(): Iterable<Buffer> {
    return this.#ledger.settle()
  }

  async close(): Promise<void> {
    await this.#options.codecs.close()
  }

  /** Raw bytes before what comes next. */
  get #position(): number {
    return this.#member?.position ?? 0
  }

  #judge(header: GlyphHeader, offset: number): Verdict {
    try {
      const { maxBlockSize } = this.#options
      const most = Math.min(maxBlockSize, this.#member?.facts?.blockSize ?? Infinity)
      checkHeader(header, offset, this.#position, most)
    } catch (error) {
      if (!this.#options.recover) throw error
      this.#lastReason = (error as Error).message
      return 'refuse'
    }
    return isKnownType(header.type) ? 'take' : 'skip'
  }

  #onInvalid(bytes: Buffer, offset: number): void {
    if (this.#options.recover) {
      if (this.#parser.skipped === 0) this.#lastReason = `no glyph at byte ${offset}`
      return
    }
    const found = bytes.toString('hex', 0, 12)
    throw new CodecError(
      'ERR_MILLRACE_CODEC_INVALID',
      `byte ${offset} (raw byte ${this.#position}): expected a glyph with a good header, got ${found}…`,
      {
        offset,
        rawOffset: this.#position,
        ...(this.#member && { index: this.#member.blocks }),
        expected: 'a glyph',
        actual: found,
      },
    )
  }

  #take(glyph: FoundGlyph): void {
    const { header, offset, skipped } = glyph
    if (header.type === GLYPH.file) return this.#takeFile(glyph)
    if (!this.#options.recover) this.#checkNext(header, offset)
    const member = this.#memberOf(header, offset, skipped)
    this.#loseUpTo(member, header.rawOffset, offset)
    member.blocks = header.index
    if (header.type === GLYPH.data) this.#takeData(member, glyph)
    else if (header.type === GLYPH.dictionary) this.#takeDictionary(member, glyph)
    else this.#takeIndex(member, glyph)
  }

  #takeFile({ header, payload, offset, skipped }: FoundGlyph): void {
    const member = this.#member
    let facts
    try {
      if (member !== undefined && member.phase !== 'end') {
        throw memberError('ERR_MILLRACE_CODEC_INVALID', offset, member, 'a new file begins inside of another')
      }
      const raw = masked(payload, header.mask)
      checkRaw(header, raw, { offset, index: 0, rawOffset: this.#position })
      facts = readFilePayload(raw, offset)
      const { blockSize } = facts
      if (blockSize > this.#options.maxBlockSize) {
        const message = `blocks of up to ${blockSize} bytes, where at most ${this.#options.maxBlockSize} are allowed`
        const { maxBlockSize } = this.#options
        throw memberError('ERR_MILLRACE_CODEC_LIMIT', offset, member, message, maxBlockSize, blockSize)
      }
    } catch (error) {
      if (!this.#options.recover) throw error
    }
    this.#begin(header.member, offset, facts, skipped)
  }

  #begin(id: number, offset: number, facts: FileFacts | undefined, strange: number): ContainerMember {
    const last = this.#member
    // what no glyph was found in may have been a file of its own, or the end of the one before
    const isCut = last !== undefined && last.phase === 'data'
    if (isCut || strange > (last?.phase === 'root' ? END_BYTES : 0)) {
      const reason = `the end or all of one of several joined files is lost before byte ${offset}`
      this.#lose({ start: this.#position, end: undefined, offset, reason })
    }
    this.#member = new ContainerMember(id, this.#position, offset, facts)
    return this.#member
  }

  /** The member that a glyph belongs to; a new one where the file glyph is lost. */
  #memberOf(header: GlyphHeader, offset: number, skipped: number): ContainerMember {
    const member = this.#member
    const isSame = member !== undefined && member.id === header.member && header.rawOffset >= member.rawBytes
    if (isSame && (member.phase === 'data' || header.type !== GLYPH.data)) return member
    return this.#begin(header.member, offset, undefined, Math.max(0, skipped - FILE_BYTES))
  }

  #checkNext(header: GlyphHeader, offset: number): void {
    const member = this.#member
    if (member !== undefined && member.phase !== 'end') return member.checkNext(header, offset)
    const message = 'expected the beginning of a file, got another glyph'
    throw memberError('ERR_MILLRACE_CODEC_INVALID', offset, member, message)
  }

  #takeData(member: ContainerMember, { header, payload, offset }: FoundGlyph): void {
    const { usesPrevious, usesDictionary, rawLength } = header
    const place: GlyphPlace = { offset, index: header.index, rawOffset: this.#position }
    this.#checkRatio(this.#position + rawLength, place)
    const codec = this.#options.codecs.find(header.codec, member.facts?.codec)
    const previous = member.tail
    const { dictionary } = member
    const keepsTail = member.facts === undefined || member.facts.restartEvery > 1
    const tail = keepsTail ? deferred<Buffer | undefined>() : undefined
    member.tail = tail?.promise
    member.add(header)
    if (!this.#options.recover) member.list(header, offset)
    this.#ready.push(
      this.#task(place, rawLength, header.codec === 0, async () => {
        try {
          if (codec === undefined) throw unknownCodec(member.facts?.codec, place)
          const before = usesPrevious ? await previous : usesDictionary ? await dictionary : undefined
          if ((usesPrevious || usesDictionary) && before === undefined) throw lostContext(usesPrevious, place)
          const context = before && contextOf(codec, before)
          const raw = await this.#gate.run(() => decodeBlock(header, payload, codec, context, place))
          // a copy: the block itself belongs to whoever reads it
          tail?.resolve(Buffer.from(raw.subarray(Math.max(0, raw.length - MAX_CONTEXT_BYTES))))
          return raw
        } finally {
          tail?.resolve(undefined)
        }
      }),
    )
  }

  /** A block to be unpacked; in recover mode its failure is a gap. */
  #task(place: GlyphPlace, rawLength: number, stored: boolean, run: () => Promise<Buffer>): BlockTask {
    const { recover } = this.#options
    const ledger = this.#ledger
    const packing = this.#counter.packing!
    const task: BlockTask<Buffer | Error> = {
      run: () => (recover ? run().catch((error: unknown) => surviving(error)) : run()),
      *join(raw) {
        if (raw instanceof Error) {
          const start = place.rawOffset
          yield* ledger.lose({ start, end: start + rawLength, offset: place.offset, reason: raw.message })
          return
        }
        yield* ledger.settle()
        packing.blocks++
        if (stored) packing.storedBlocks++
        yield raw
      },
    }
    return task
  }

  #takeDictionary(member: ContainerMember, { header, payload, offset }: FoundGlyph): void {
    const place = { offset, index: header.index, rawOffset: this.#position }
    const codec = this.#options.codecs.find(header.codec, member.facts?.codec)
    member.dictionary = (async () => {
      if (codec === undefined) throw unknownCodec(member.facts?.codec, place)
      return await this.#gate.run(() => decodeBlock(header, payload, codec, undefined, place))
    })()
    if (this.#options.recover) member.dictionary = member.dictionary.catch(() => undefined)
    // who needs it will hear of it; who does not, need not
    else member.dictionary.catch(() => {})
  }

  #takeIndex(member: ContainerMember, { header, payload, offset }: FoundGlyph): void {
    const { type } = header
    const raw = masked(payload, header.mask)
    if (type === GLYPH.root) member.phase = 'root'
    if (type === GLYPH.end) member.phase = 'end'
    if (!this.#options.recover) member.checkIndex(header, raw, offset)
  }

  /** In recover mode, raw bytes before `rawOffset` that have not come are lost. */
  #loseUpTo(member: ContainerMember, rawOffset: number, offset: number): void {
    if (rawOffset === member.rawBytes) return
    const start = this.#position
    const end = start + rawOffset - member.rawBytes
    this.#lose({ start, end, offset, reason: this.#lastReason || `blocks before byte ${offset} are lost` })
    member.rawBytes = rawOffset
    member.tail = undefined
  }

  #lose(gap: Gap): void {
    const ledger = this.#ledger
    this.#ready.push({ run: () => undefined, join: () => ledger.lose(gap) })
  }

  #finishInput(): void {
    this.#drained = true
    const member = this.#member
    const { offset, openBytes, skipped } = this.#parser
    if (this.#options.recover) {
      // behind the root nothing but the trailer is missing
      const harmless = member?.phase === 'end' ? 0 : END_BYTES
      if (member === undefined || member.phase === 'data' || skipped > harmless) {
        const reason =
          member === undefined
            ? 'no glyph was found'
            : this.#lastReason || 'the input ends before its trailer'
        this.#lose({ start: this.#position, end: undefined, offset, reason })
      }
      return
    }
    if (openBytes === 0 && member?.phase === 'end') return
    const where =
      openBytes > 0
        ? 'inside of a glyph'
        : member === undefined
          ? 'before its first glyph'
          : 'before its trailer'
    throw new CodecError(
      'ERR_MILLRACE_CODEC_TRUNCATED',
      `the input ends ${where}, at byte ${offset} (raw byte ${this.#position})`,
      { offset, rawOffset: this.#position, ...(member && { index: member.blocks }) },
    )
  }

  #checkRatio(rawBytes: number, place: GlyphPlace): void {
    const { maxRatio } = this.#options
    const packed = this.#parser.offset
    if (rawBytes <= maxRatio * packed) return
    throw new CodecError(
      'ERR_MILLRACE_CODEC_LIMIT',
      `${placeOf(place)}: ${rawBytes} bytes from ${packed} are more than ${maxRatio} for one`,
      { ...place, expected: maxRatio, actual: rawBytes / packed },
    )
  }
}

/** Blocks of a run that are taken into account for how many are held. */
const MAX_CHAIN = 32
/** What recovery gets over; that a codec is not at hand is no damage. */
function surviving(error: unknown): Error {
  if (error instanceof CodecError && error.code !== 'ERR_MILLRACE_CODEC_UNKNOWN') return error
  throw error
}

function unknownCodec(name: string | undefined, place: GlyphPlace): CodecError {
  const what =
    name === undefined
      ? 'a codec that the lost beginning of the file named'
      : `the codec ${JSON.stringify(name)}`
  // a name that is lost is damage, which recovery gets over
  const code = name === undefined ? 'ERR_MILLRACE_CODEC_INVALID' : 'ERR_MILLRACE_CODEC_UNKNOWN'
  return new CodecError(code, `${placeOf(place)} needs ${what}; give it in codecs`, {
    ...place,
    expected: name,
  })
}

function lostContext(usesPrevious: boolean, place: GlyphPlace): CodecError {
  const what = usesPrevious ? 'the block before it' : 'the dictionary'
  return new CodecError(
    'ERR_MILLRACE_CODEC_CHECKSUM',
    `${placeOf(place)} cannot be unpacked without ${what}, which is lost`,
    {
      ...place,
    },
  )
}

interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
}

function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
