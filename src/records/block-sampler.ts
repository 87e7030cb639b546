import { mix } from '../bytes/object-format.ts'
import type { Seed } from '../bytes/index.ts'
import { ConditionError } from '../errors.ts'
import { ColumnCodec, idMaker } from './column-codec.ts'
import type { Conditions } from './condition.ts'
import { compileConditions, type Constraint } from './constraint.ts'
import { CopulaSampler } from './copula-sampler.ts'
import { sharedRecordKernel, type RecordKernel } from './record-kernel.ts'
import type { IdMaker } from './id-maker.ts'
import { KernelSampler } from './kernel-sampler.ts'
import type { ModelData } from './model-data.ts'
import { BlockRandom } from './random.ts'
import { RowOrders } from './row-orders.ts'
import { treeSamplers, type ColumnSampler } from './tree-sampler.ts'

/** Records of a block: what one draw of random numbers makes. Part of what a seed means: records would change with it. */
export const BLOCK_RECORDS = 1024

/** Share of candidates that must meet the conditions, unless told otherwise. */
export const DEFAULT_MIN_ACCEPTANCE = 1e-4

/** Candidates are judged once this many records should have been found among them. */
const JUDGE_AFTER = 100

/** What decides the records, beside the model. */
export interface DrawOptions {
  /** The records follow from it. @defaultValue 0 */
  readonly seed?: Seed
  /** What every record meets. */
  readonly conditions?: Conditions
  /**
   * Where candidates are drawn until one meets the conditions (`bayes_net`, `cart`): the share of them below which sampling is
   * given up.
   *
   * @defaultValue 0.0001
   */
  readonly minAcceptance?: number
}

/**
 * Draws blocks of records as codes, column by column. Block `i` follows from the model, the seed and `i`: nothing goes from one
 * block to the next.
 */
export class BlockSampler {
  readonly codecs: readonly ColumnCodec[]
  readonly ids: readonly (IdMaker | undefined)[]
  /** By column: the codes of the block that was drawn last. */
  readonly codes: readonly Uint16Array[]
  /** By column: the words that pick a value where a code is not enough. */
  readonly words: readonly Uint32Array[]
  readonly #random: BlockRandom
  readonly #constraints: readonly Constraint[]
  readonly #byColumn: ReadonlyMap<number, Constraint>
  readonly #samplers: readonly ColumnSampler[]
  readonly #copula: CopulaSampler | undefined
  /** Draws blocks in place of the samplers, where every candidate is kept and all of them are tables. */
  readonly #fast: KernelSampler | undefined
  readonly #minAcceptance: number
  readonly #buffer = new Uint32Array(BLOCK_RECORDS)
  readonly #orders = new RowOrders(BLOCK_RECORDS)
  /** Where candidates are drawn when they may be turned down. */
  readonly #candidates: readonly Uint16Array[]
  readonly #candidateWords: readonly Uint32Array[]
  /** The block that is drawn, or -1; how many of its records are there, and how many candidates of how many met the conditions. */
  #block = -1
  #found = 0
  #good = 0
  #tried = 0

  /** @throws {@link OptionError} and {@link ConditionError} for conditions that make no sense or cannot be met. */
  constructor(
    data: ModelData,
    { seed = 0, conditions, minAcceptance = DEFAULT_MIN_ACCEPTANCE }: DrawOptions,
    kernel: RecordKernel | null = sharedRecordKernel(),
  ) {
    this.codecs = data.columns.map((column) => new ColumnCodec(column))
    this.#random = new BlockRandom(seed)
    const key = this.#random.begin(0, 1).next()
    this.ids = data.columns.map((column) => idMaker(column, mix(key)))
    this.codes = data.columns.map(() => new Uint16Array(BLOCK_RECORDS))
    this.words = this.codecs.map(({ isExact }) => new Uint32Array(isExact ? 0 : BLOCK_RECORDS))
    this.#minAcceptance = minAcceptance
    this.#constraints = conditions === undefined ? [] : compileConditions(conditions, this.codecs)
    this.#byColumn = new Map(this.#constraints.map((constraint) => [constraint.column, constraint]))
    const { network, copula } = data
    const isFree = this.#constraints.length === 0
    this.#fast = isFree ? kernel?.samplers.get(data) : undefined
    this.#samplers = this.#fast === undefined ? this.#samplersOf(data) : []
    const inCopula = this.#constraints.filter(({ column }) => copula?.columns.includes(column) === true)
    this.#copula = copula && new CopulaSampler(copula, inCopula, BLOCK_RECORDS)
    const rejects =
      network !== undefined && this.#constraints.some(({ column }) => data.columns[column]!.coding !== 'text')
    this.#candidates = rejects ? this.codes.map(({ length }) => new Uint16Array(length)) : this.codes
    if (kernel !== null && copula === undefined && !rejects) {
      this.#fast ??= KernelSampler.of(kernel, this.#samplers)
      if (isFree && this.#fast !== undefined) kernel.samplers.set(data, this.#fast)
    }
    this.#candidateWords = rejects ? this.words.map(({ length }) => new Uint32Array(length)) : this.words
  }

  #samplersOf({ columns, network }: ModelData): ColumnSampler[] {
    const texts = columns.flatMap((model, column) => {
      if (model.coding !== 'text') return []
      // texts stand alone, so what is asked of them is asked of their counts
      const share = this.#byColumn.get(column)?.share
      const wanted = model.counts.map((count, code) => count * (share?.[code] ?? 1))
      // what came no more when the model learnt on can be asked for, too
      const counts = share === undefined || wanted.some((count) => count > 0) ? wanted : [...share]
      return [{ column, tree: { codes: [...counts.keys()], counts } }]
    })
    return [
      ...(network === undefined ? [] : treeSamplers(network, BLOCK_RECORDS)),
      ...treeSamplers({ nodes: texts, groups: columns.map(() => []) }, BLOCK_RECORDS),
    ]
  }

  /**
   * Draws block `block`; at least its first `count` records are there afterwards. Asked for more of the same block, it goes on
   * where it ended, so that a block that is read in pieces is drawn once.
   *
   * @throws {@link ConditionError} if too few candidates meet the conditions.
   */
  draw(block: number, count = BLOCK_RECORDS): void {
    if (block !== this.#block) {
      this.#random.begin(block)
      this.#found = this.#good = this.#tried = 0
    } else if (this.#found >= count) return
    // whatever throws, nobody goes on from there
    this.#block = -1
    if (this.#fast !== undefined) {
      this.#fast.draw(this.#random, this.codes, this.words)
      this.#found = BLOCK_RECORDS
    } else if (this.#candidates === this.codes) {
      this.#copula?.draw(this.codes, this.#random, BLOCK_RECORDS)
      this.#drawColumns(false)
      this.#found = BLOCK_RECORDS
    } else this.#drawCandidates(count)
    this.#fitWords()
    this.#block = block
  }

  #drawCandidates(count: number): void {
    while (this.#found < count) {
      const good = this.#drawColumns(true)
      const kept = Math.min(good, BLOCK_RECORDS - this.#found)
      for (const [column, codes] of this.#candidates.entries()) {
        this.codes[column]!.set(codes.subarray(0, kept), this.#found)
        const words = this.#candidateWords[column]!
        if (words.length > 0) this.words[column]!.set(words.subarray(0, kept), this.#found)
      }
      this.#found += kept
      // those that the block has no room for met the conditions too
      this.#good += good
      this.#tried += BLOCK_RECORDS
      const least = this.#tried * this.#minAcceptance
      if (least >= JUDGE_AFTER && this.#good < least) {
        throw tooRare(this.#good, this.#tried, this.#minAcceptance)
      }
    }
  }

  /** Draws the columns of a block one after another, keeps what meets the conditions, and returns how many records that are. */
  #drawColumns(rejects: boolean): number {
    let rows = BLOCK_RECORDS
    const done: number[] = []
    this.#orders.begin(this.#random)
    for (const sampler of this.#samplers) {
      const { column } = sampler
      this.#random.fillWords(this.#buffer, rows)
      sampler.draw(this.#candidates, this.#buffer, this.#orders.next(rows))
      this.#drawWords(column, rows)
      done.push(column)
      const constraint = rejects ? this.#byColumn.get(column) : undefined
      if (constraint === undefined || this.codecs[column]!.model.coding === 'text') continue
      rows = this.#keep(constraint, done, rows)
      if (rows === 0) return 0
    }
    if (this.#copula !== undefined) {
      for (const [column, codec] of this.codecs.entries()) {
        if (codec.model.coding === 'range') this.#drawWords(column, rows)
      }
    }
    return rows
  }

  #drawWords(column: number, rows: number): void {
    if (this.codecs[column]!.isExact) return
    this.#random.fillWords(this.#candidateWords[column]!, rows)
  }

  /** Moves the rows that meet a constraint together, in all columns that are drawn so far. */
  #keep({ column, meets }: Constraint, done: readonly number[], rows: number): number {
    const [codes, words] = [this.#candidates[column]!, this.#candidateWords[column]!]
    const kept = this.#buffer
    let count = 0
    for (let row = 0; row < rows; row++) if (meets(codes[row]!, words[row] ?? 0)) kept[count++] = row
    if (count === rows) return rows
    for (const other of done) {
      const of = this.#candidates[other]!
      for (let i = 0; i < count; i++) of[i] = of[kept[i]!]!
      const wordsOf = this.#candidateWords[other]!
      if (wordsOf.length > 0) for (let i = 0; i < count; i++) wordsOf[i] = wordsOf[kept[i]!]!
    }
    return count
  }

  /** Where only a part of a bin meets a condition, takes a word of that part. */
  #fitWords(): void {
    for (const { column, words, meets } of this.#constraints) {
      if (words.size === 0) continue
      const [codes, own] = [this.codes[column]!, this.words[column]!]
      for (let row = 0; row < BLOCK_RECORDS; row++) {
        const good = words.get(codes[row]!)
        if (good !== undefined && !meets(codes[row]!, own[row]!)) own[row] = good[own[row]! % good.length]!
      }
    }
  }
}

function tooRare(found: number, tried: number, least: number): ConditionError {
  const message =
    `conditions: only ${found} of ${tried} candidates meet them, which is less than ${least} of them (minAcceptance); ` +
    'a model of the method gaussian_copula draws rare records directly'
  return new ConditionError('ERR_MILLRACE_CONDITION_RARE', message, {
    attempts: tried,
    actual: found / tried,
    expected: least,
  })
}
