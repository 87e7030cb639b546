import { OptionError } from '../errors.ts'
import { BLOCK_RECORDS } from '../records/block-sampler.ts'
import type { Model, ModelData, RecordGenerator } from '../records/index.ts'
import { Renderer } from '../records/render.ts'
import { sourceOf } from '../records/record-source.ts'
import { LineBuffer } from './line-buffer.ts'
import type { GenerateRequest } from './protocol.ts'

/** A message with records, and how many. */
interface Batch {
  /** Valid until the next one is asked for. */
  readonly message: Buffer
  readonly count: number
}

/** Makes what a request asks for, one batch each time it is asked. */
export interface BatchSource {
  open(request: GenerateRequest): BatchMaker
}

/** The next batch of so many records, with its number; `undefined`: there is no more. */
export type BatchMaker = (count: number, batch: number) => Batch | undefined | Promise<Batch | undefined>

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
  open({ id, count, conditions, seed, skip }: GenerateRequest): BatchMaker {
    const renderer = this.#renderer(seed ?? this.#seed, conditions)
    const goesOn = seed === undefined && skip === undefined
    let next = goesOn ? this.#position : (skip ?? 0)
    const end = next + count
    if (goesOn) this.#position = end
    // A block at a time, however small the batches are: the model draws blocks. Between two calls the renderer is free for others.
    const lines = new LineBuffer(id)
    return (wanted, batch) => {
      while (lines.count < wanted) {
        const to = Math.min(end, (Math.floor(next / BLOCK_RECORDS) + 1) * BLOCK_RECORDS)
        const room = lines.room(renderer.bound(to - next, 'ndjson'))
        lines.added(renderer.text({ from: next, to }, 'ndjson', room).length, to - next)
        next = to
      }
      return { message: lines.take(wanted, batch), count: wanted }
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
    return async (wanted, batch) => {
      const records = await source.records({ from: 0, to: wanted })
      if (records.length === 0) return undefined
      // one text of all of them: a text of each, joined, copied and mended, took a fifth more of the CPU time of this and its client
      const message = Buffer.from(JSON.stringify({ id: request.id, batch, records }))
      return { message, count: records.length }
    }
  }
}
