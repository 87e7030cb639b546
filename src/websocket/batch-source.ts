import { OptionError } from '../errors.ts'
import { BLOCK_RECORDS } from '../records/block-sampler.ts'
import type { Model, ModelData, RecordGenerator } from '../records/index.ts'
import { Renderer } from '../records/render.ts'
import { sourceOf } from '../records/record-source.ts'
import type { GenerateRequest } from './protocol.ts'

/** Lines of JSON, and how many. */
interface Lines {
  readonly lines: Buffer
  readonly count: number
}

/** Makes what a request asks for, one batch each time it is asked. */
export interface BatchSource {
  open(request: GenerateRequest): BatchMaker
}

/** `undefined`: there is no more. */
export type BatchMaker = (count: number) => Lines | undefined | Promise<Lines | undefined>

/** Renderers that are kept for the next request of the same kind: to make one takes some 100 ms for a wide table. */
const KEPT_RENDERERS = 4

/**
 * Records of a model. A request with a seed gets the records of that seed, from the first one on or after `skip` of them; one with neither
 * goes on where the last one ended, so that no two clients are given the same.
 */
export class ModelSource implements BatchSource {
  readonly #data: ModelData
  readonly #seed: number | string | undefined
  /** By seed and conditions, the one that was used last at the end. */
  readonly #renderers = new Map<string, Renderer>()
  #position = 0

  constructor(model: Model, seed: number | string | undefined) {
    this.#data = model.toJSON()
    this.#seed = seed
  }

  /** @throws {@link OptionError} and {@link ConditionError} for conditions that make no sense. */
  open({ count, conditions, seed, skip }: GenerateRequest): BatchMaker {
    const renderer = this.#renderer(seed ?? this.#seed, conditions)
    const goesOn = seed === undefined && skip === undefined
    let next = goesOn ? this.#position : (skip ?? 0)
    const end = next + count
    if (goesOn) this.#position = end
    // A block at a time, however small the batches are: the model draws blocks. Between two calls the renderer is free for others.
    const held = new HeldLines()
    return (wanted) => {
      while (held.count < wanted) {
        const to = Math.min(end, (Math.floor(next / BLOCK_RECORDS) + 1) * BLOCK_RECORDS)
        held.add(renderer.text({ from: next, to }, 'ndjson'), to - next)
        next = to
      }
      return { lines: held.take(wanted), count: wanted }
    }
  }

  #renderer(seed: number | string | undefined, conditions: GenerateRequest['conditions']): Renderer {
    const key = JSON.stringify([seed, conditions])
    const renderer =
      this.#renderers.get(key) ??
      new Renderer(this.#data, {
        ...(seed !== undefined && { seed }),
        ...(conditions !== undefined && { conditions }),
      })
    this.#renderers.delete(key)
    this.#renderers.set(key, renderer)
    if (this.#renderers.size > KEPT_RENDERERS) this.#renderers.delete(this.#renderers.keys().next().value!)
    return renderer
  }
}

/** Lines that have been made and not been sent. */
class HeldLines {
  count = 0
  #bytes: Buffer = Buffer.alloc(0)

  add(lines: Buffer, count: number): void {
    this.#bytes = this.#bytes.length === 0 ? lines : Buffer.concat([this.#bytes, lines])
    this.count += count
  }

  take(count: number): Buffer {
    let end = 0
    if (count === this.count) end = this.#bytes.length
    else for (let i = 0; i < count; i++) end = this.#bytes.indexOf(NEWLINE, end) + 1
    const lines = this.#bytes.subarray(0, end)
    this.#bytes = this.#bytes.subarray(end)
    this.count -= count
    return lines
  }
}

const NEWLINE = 0x0a

/** Records of a generator of the user's own; fewer than asked for end the answer. */
export class GeneratorSource implements BatchSource {
  readonly #generator: RecordGenerator

  constructor(generator: RecordGenerator) {
    this.#generator = generator
  }

  /** @throws {@link OptionError} for conditions and seeds: only a model knows them. */
  open(request: GenerateRequest): BatchMaker {
    for (const name of ['conditions', 'seed', 'skip'] as const) {
      if (request[name] !== undefined) {
        throw new OptionError(
          name,
          request[name],
          'nothing: the records come from a generator, not from a model',
        )
      }
    }
    const source = sourceOf(this.#generator)
    return async (wanted) => {
      const records = await source.records({ from: 0, to: wanted })
      if (records.length === 0) return undefined
      const lines = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''))
      return { lines, count: records.length }
    }
  }
}
