import { OptionError } from '../errors.ts'
import type { Model, RecordGenerator } from '../records/index.ts'
import { Renderer } from '../records/render.ts'
import { sourceOf } from '../records/record-source.ts'
import type { GenerateRequest } from './protocol.ts'

/** Lines of JSON, and how many. */
export interface Lines {
  readonly lines: Buffer
  readonly count: number
}

/** Makes what a request asks for, one batch each time it is asked. */
export interface BatchSource {
  open(request: GenerateRequest): BatchMaker
}

/** `undefined`: there is no more. */
export type BatchMaker = (count: number) => Lines | undefined | Promise<Lines | undefined>

/**
 * Records of a model. A request with a seed gets the records of that seed from the first one on; the others go on where the last
 * one ended, so that no two clients are given the same.
 */
export class ModelSource implements BatchSource {
  readonly #model: Model
  readonly #seed: number | string | undefined
  #position = 0

  constructor(model: Model, seed: number | string | undefined) {
    this.#model = model
    this.#seed = seed
  }

  /** @throws {@link OptionError} and {@link ConditionError} for conditions that make no sense. */
  open({ count, conditions, seed = this.#seed, seed: own }: GenerateRequest): BatchMaker {
    const renderer = new Renderer(this.#model.toJSON(), {
      ...(seed !== undefined && { seed }),
      ...(conditions !== undefined && { conditions }),
    })
    let next = own === undefined ? this.#position : 0
    if (own === undefined) this.#position += count
    return (wanted) => {
      const from = next
      next += wanted
      return { lines: renderer.text({ from, to: next }, 'ndjson'), count: wanted }
    }
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
    for (const name of ['conditions', 'seed'] as const) {
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
