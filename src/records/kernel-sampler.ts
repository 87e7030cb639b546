import type { RecordKernel } from './record-kernel.ts'
import type { BlockRandom } from './random.ts'
import { RUN } from './row-orders.ts'
import { TableColumn, type ColumnSampler, type PlacedColumn } from './tree-sampler.ts'

/** Rows of a block, as the kernel has them. */
const ROWS = 1024
/** Parents whose steps are added at once. */
const PARENTS = 5
const BYTES_16 = 2 * ROWS
const BYTES_32 = 4 * ROWS

/** Where a sampler's tables and the arrays that it works with are. */
interface Places {
  readonly epoch: number
  readonly columns: readonly (Omit<PlacedColumn, 'steps'> & {
    readonly parents: number
    readonly parentCount: number
  })[]
  /** One after another: the codes of each column. */
  readonly codes: number
  readonly cells: number
  readonly words: number
  readonly shuffles: { readonly first: number; readonly second: number; readonly words: number }
}

/** Draws whole blocks in WebAssembly: the same as samplers of the class {@link TableColumn} draw one after another, and two to three times as fast. */
export class KernelSampler {
  readonly #kernel: RecordKernel
  readonly #columns: readonly TableColumn[]
  #places: Places | undefined

  private constructor(kernel: RecordKernel, columns: readonly TableColumn[]) {
    this.#kernel = kernel
    this.#columns = columns
  }

  /** In place of these samplers, or undefined where one is walked or all of them would fill the kernel's memory. */
  static of(kernel: RecordKernel, samplers: readonly ColumnSampler[]): KernelSampler | undefined {
    const columns = samplers.filter((sampler) => sampler instanceof TableColumn)
    const bytes = columns.reduce((sum, column) => sum + column.bytes, 0)
    if (columns.length < samplers.length || !kernel.hasRoomFor(bytes)) return undefined
    return new KernelSampler(kernel, columns)
  }

  /** Writes the codes of a block, and random words for those columns that have room for them. */
  draw(random: BlockRandom, codes: readonly Uint16Array[], words: readonly Uint32Array[]): void {
    if (this.#places?.epoch !== this.#kernel.epoch) this.#places = this.#place(codes.length)
    const places = this.#places
    const kernel = this.#kernel
    const { run } = kernel
    const { first, second } = places.shuffles
    run.seed(...random.state)
    this.#shuffle(places)
    let turn = 0
    for (const {
      column,
      leafOf,
      leaves,
      leafCount,
      guide,
      last,
      codes: values,
      parents,
      parentCount,
    } of places.columns) {
      run.fillWords(places.words)
      if (turn === RUN) {
        this.#shuffle(places)
        turn = 0
      }
      run.addSteps(places.cells, parents, parentCount)
      const to = places.codes + column * BYTES_16
      run.drawEvenly(
        to,
        places.cells,
        leafOf,
        first,
        second,
        turn++,
        places.words,
        leaves,
        leafCount,
        guide,
        last,
        values,
      )
      kernel.take(to, codes[column]!)
      if (words[column]!.length === 0) continue
      run.fillWords(places.words)
      kernel.take(places.words, words[column]!)
    }
  }

  #shuffle({ shuffles: { first, second, words } }: Places): void {
    const { run } = this.#kernel
    for (const rows of [first, second]) {
      run.fillWords(words)
      run.shuffle(rows, words)
    }
  }

  #place(columns: number): Places {
    const kernel = this.#kernel
    const epoch = kernel.open()
    const codes = kernel.reserve(columns * BYTES_16)
    const zeros = kernel.put(new Uint8Array(BYTES_16))
    return {
      epoch,
      columns: this.#columns.map((column) => {
        const { steps, ...placed } = column.place(kernel)
        const parents = steps.flatMap(({ column, address }) => [codes + column * BYTES_16, address])
        // in place of those that are not there, one that adds nothing
        while (parents.length % (2 * PARENTS) > 0) parents.push(zeros)
        return { ...placed, parents: kernel.put(Uint32Array.from(parents)), parentCount: parents.length / 2 }
      }),
      codes,
      cells: kernel.reserve(BYTES_16),
      words: kernel.reserve(BYTES_32),
      shuffles: {
        first: kernel.reserve(BYTES_16),
        second: kernel.reserve(BYTES_16),
        words: kernel.reserve(BYTES_32),
      },
    }
  }
}
