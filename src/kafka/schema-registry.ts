import { OptionError, SchemaError, asError } from '../errors.ts'
import { Policy, type PolicyLike } from '../flow/index.ts'
import { checkMethods } from '../options.ts'

/** Languages that schemas are written in. */
export type SchemaType = 'AVRO' | 'PROTOBUF' | 'JSON'

/** A schema as a registry keeps it. */
export interface RegisteredSchema {
  readonly schema: string
  readonly type: SchemaType
}

/** Options of {@link SchemaRegistry}. */
export interface SchemaRegistryOptions {
  /** Sent with every request, such as `authorization`. User and password may also stand in the URL. */
  readonly headers?: Readonly<Record<string, string>>
  /**
   * How requests are repeated.
   * @defaultValue a `Policy` of 3 retries and 5000 ms an attempt
   */
  readonly policy?: PolicyLike
  /** @defaultValue the global `fetch` */
  readonly fetch?: typeof fetch
}

/** Longest answer that is read, in bytes: a schema is text that people write. */
const MAX_ANSWER = 4 * 1024 * 1024
const MAX_CACHED = 1000

/**
 * A client of a schema registry: what was asked once is kept, and callers at the same time share one request. A failure is not kept.
 *
 * @remarks Keeps at most 1000 schemas and ids each.
 * @throws {@link OptionError} when an option is wrong.
 * @see https://docs.confluent.io/platform/current/schema-registry/develop/api.html
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { createServer } from 'node:http'
 * import { SchemaRegistry } from 'millrace/kafka'
 *
 * const server = createServer((request, response) => response.end('{"id":7}')).listen(0, '127.0.0.1')
 * await new Promise((resolve) => server.once('listening', resolve))
 * const registry = new SchemaRegistry(`http://127.0.0.1:${server.address().port}`)
 * assert.equal(await registry.register('clicks-value', '"string"', 'AVRO'), 7)
 * server.close()
 * server.closeAllConnections()
 * ```
 */
export class SchemaRegistry {
  readonly #url: string
  readonly #headers: Record<string, string>
  readonly #policy: PolicyLike
  readonly #fetch: typeof fetch
  readonly #ids = new Map<string, Promise<number>>()
  readonly #schemas = new Map<number, Promise<RegisteredSchema>>()

  constructor(
    url: string,
    { headers, policy, fetch: fetcher = globalThis.fetch }: SchemaRegistryOptions = {},
  ) {
    if (!URL.canParse(url) || !/^https?:/i.test(url))
      throw new OptionError('url', url, 'an http or https URL')
    const { username, password, origin, pathname } = new URL(url)
    this.#url = `${origin}${pathname.replace(/\/$/, '')}`
    this.#policy = checkMethods('policy', policy ?? new Policy({ retries: 3, timeout: 5000 }), ['execute'])
    this.#fetch = fetcher
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    this.#headers = {
      accept: 'application/vnd.schemaregistry.v1+json, application/json',
      'content-type': 'application/vnd.schemaregistry.v1+json',
      ...(username !== '' && { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
      ...headers,
    }
  }

  /** The id of a schema under a subject, which becomes known to the registry if it is not. */
  register(subject: string, schema: string, type: SchemaType): Promise<number> {
    return kept(this.#ids, `${subject}\n${type}\n${schema}`, async () => {
      // Avro is what a registry takes it for; the oldest know no other
      const body = JSON.stringify({ schema, ...(type !== 'AVRO' && { schemaType: type }) })
      const path = `/subjects/${encodeURIComponent(subject)}/versions`
      const { id } = (await this.#ask(path, { method: 'POST', body })) as { id?: unknown }
      if (!Number.isInteger(id)) throw registryError(`no id in the answer to ${path}`)
      return id as number
    })
  }

  /** The schema with an id. */
  schema(id: number): Promise<RegisteredSchema> {
    return kept(this.#schemas, id, async () => {
      const path = `/schemas/ids/${id}`
      const { schema, schemaType = 'AVRO' } = (await this.#ask(path)) as {
        schema?: unknown
        schemaType?: SchemaType
      }
      if (typeof schema !== 'string') throw registryError(`no schema in the answer to ${path}`)
      return { schema, type: schemaType }
    })
  }

  async #ask(path: string, init: RequestInit = {}): Promise<object> {
    return await this.#policy.execute(async ({ signal }) => {
      const response = await this.#fetch(`${this.#url}${path}`, { ...init, headers: this.#headers, signal })
      const text = await textOf(response)
      if (!response.ok) {
        const cause = Object.assign(new Error(`status ${response.status}`), { status: response.status })
        throw registryError(`${path}: ${response.status} ${text.slice(0, 300)}`, cause, response.status)
      }
      try {
        return Object(JSON.parse(text)) as object
      } catch (error) {
        throw registryError(`the answer to ${path} is not JSON: ${asError(error).message}`)
      }
    })
  }
}

async function textOf(response: Response): Promise<string> {
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of response.body ?? []) {
    length += piece.byteLength
    if (length > MAX_ANSWER)
      throw registryError(`expected an answer of at most ${MAX_ANSWER} bytes, got more`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

function kept<K, V>(cache: Map<K, Promise<V>>, key: K, make: () => Promise<V>): Promise<V> {
  const found = cache.get(key)
  if (found !== undefined) return found
  const made = make()
  if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value as K)
  cache.set(key, made)
  made.catch(() => cache.delete(key))
  return made
}

function registryError(message: string, cause?: Error, actual?: number): SchemaError {
  return new SchemaError('ERR_MILLRACE_SCHEMA_REGISTRY', `schema registry: ${message}`, {
    ...(cause && { cause }),
    ...(actual !== undefined && { actual }),
  })
}
