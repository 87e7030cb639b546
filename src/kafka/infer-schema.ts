import { SchemaError } from '../errors.ts'

type Kind = 'boolean' | 'long' | 'double' | 'string'

interface Column {
  readonly name: string
  readonly kind: Kind
  readonly optional: boolean
}

const NAME = /^[A-Za-z_]\w*$/

/**
 * Records in, an Avro schema that they fit out, one field a column: `boolean`, `long`, `double` or `string`, or a union with `null` where
 * a value is missing, or in all columns with `nullable`. Whole numbers give `long` as long as all of them are.
 *
 * @throws {@link SchemaError} when a column is of two kinds, nested, or has a name that Avro does not allow.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { inferAvroSchema } from 'millrace/kafka'
 *
 * const schema = inferAvroSchema([{ page: '/a', ms: 3 }, { page: '/b', ms: null }], 'Click')
 * assert.deepEqual(schema.fields, [
 *   { name: 'page', type: 'string' },
 *   { name: 'ms', type: ['null', 'long'], default: null },
 * ])
 * ```
 */
export function inferAvroSchema(records: readonly object[], name = 'Record', nullable = false) {
  const fields = columnsOf(records).map(({ name, kind, optional }) =>
    optional || nullable ? { name, type: ['null', kind], default: null } : { name, type: kind },
  )
  return { type: 'record', name, fields }
}

/**
 * Records in, the text of a `.proto` file with one message that they fit out. Every field is `optional`, since a value that is
 * missing and one that is 0 are the same in Protobuf otherwise.
 *
 * @throws {@link SchemaError} when a column is of two kinds, nested, or has a name that Protobuf does not allow.
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { inferProtobufSchema } from 'millrace/kafka'
 *
 * const text = inferProtobufSchema([{ page: '/a', ms: 0.5 }], 'Click')
 * assert.match(text, /message Click \{\n {2}optional string page = 1;\n {2}optional double ms = 2;\n\}/)
 * ```
 */
export function inferProtobufSchema(records: readonly object[], name = 'Record'): string {
  const types = { boolean: 'bool', long: 'int64', double: 'double', string: 'string' }
  const fields = columnsOf(records).map(
    ({ name, kind }, index) => `  optional ${types[kind]} ${name} = ${index + 1};\n`,
  )
  return `syntax = "proto3";\nmessage ${name} {\n${fields.join('')}}\n`
}

function columnsOf(records: readonly object[]): Column[] {
  const columns = new Map<string, { kind: Kind | undefined; seen: number }>()
  for (const record of records) {
    for (const [name, value] of Object.entries(record) as [string, unknown][]) {
      const column = columns.get(name) ?? { kind: undefined, seen: 0 }
      columns.set(name, column)
      if (value === null || value === undefined) continue
      column.seen++
      column.kind = joined(name, column.kind, kindOf(name, value))
    }
  }
  return [...columns].map(([name, { kind = 'string', seen }]) => {
    if (!NAME.test(name)) throw columnError(name, 'a name of letters, digits and _', JSON.stringify(name))
    return { name, kind, optional: seen < records.length }
  })
}

function kindOf(name: string, value: unknown): Kind {
  if (typeof value === 'boolean' || typeof value === 'string') return typeof value as Kind
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'long' : 'double'
  throw columnError(name, 'a number, a string, a boolean or null', typeof value)
}

function joined(name: string, known: Kind | undefined, found: Kind): Kind {
  if (known === undefined || known === found) return found
  const bothNumbers = [known, found].every((kind) => kind === 'long' || kind === 'double')
  if (!bothNumbers) throw columnError(name, known, found)
  return 'double'
}

function columnError(name: string, expected: string, got: string): SchemaError {
  return new SchemaError('ERR_MILLRACE_SCHEMA', `column ${name}: expected ${expected}, got ${got}`, {
    expected,
    actual: got,
  })
}
