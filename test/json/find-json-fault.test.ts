import * as fc from 'fast-check'
import t from 'tap'
import { findJsonFault } from '../../src/json/find-json-fault.ts'
import { anyJson, isJson, mutated, vectors } from './fixtures/vectors.ts'

const fault = (text: string, maxDepth?: number) => {
  const { kind, offset, expected } = findJsonFault(Buffer.from(text), 0, undefined, maxDepth) ?? {}
  return kind && `${kind} ${offset}: ${expected}`
}

t.test('findJsonFault: accepts and rejects what JSON.parse does', async (t) => {
  for (const { name, bytes } of vectors) t.equal(findJsonFault(bytes) === undefined, isJson(bytes), name)
  const text = fc
    .tuple(anyJson, fc.constantFrom(undefined, 1, '\t'))
    .map(([v, space]) => Buffer.from(JSON.stringify(v, null, space)))
  fc.assert(fc.property(text, (bytes) => findJsonFault(bytes) === undefined))
  fc.assert(
    fc.property(mutated(text), (bytes) => (findJsonFault(bytes) === undefined) === isJson(bytes)),
    { numRuns: 3000 },
  )
})

t.test('findJsonFault: names the first byte that no JSON text could have there', async (t) => {
  const text = anyJson.map((value) => Buffer.from(JSON.stringify(value)))
  fc.assert(
    fc.property(mutated(text), (bytes) => {
      const fault = findJsonFault(bytes)
      if (fault === undefined || fault.kind === 'utf8') return
      // what stands before the fault is the start of some JSON text, with the faulty byte it is not
      const before = findJsonFault(bytes, 0, fault.offset)
      if (before !== undefined && before.kind !== 'truncated' && before.kind !== 'utf8')
        throw new Error('too late')
      if (fault.kind === 'truncated') return fault.offset === bytes.length
      // (the first byte of a character that stands outside a string is cut off from its rest here)
      return ['syntax', 'utf8'].includes(findJsonFault(bytes, 0, fault.offset + 1)?.kind ?? '')
    }),
    { numRuns: 2000 },
  )
  const table: Record<string, string | undefined> = {
    '': 'truncated 0: a value',
    ' ': 'truncated 1: a value',
    '[1,]': 'syntax 3: a value in the array',
    '[': 'truncated 1: a value in the array',
    '[}': 'syntax 1: a value in the array',
    '[1}': "syntax 2: ',' or ']'",
    '{"a":1]': "syntax 6: ',' or '}'",
    '{"a":1,}': 'syntax 7: a key',
    '{,': "syntax 1: a key or '}'",
    '{"a" 1}': "syntax 5: ':'",
    '{"a"': "truncated 4: ':'",
    '1 2': 'syntax 2: the end of the value',
    '01': 'syntax 1: the end of the value',
    '-': 'truncated 1: a digit',
    '1.x': 'syntax 2: a digit',
    '1e+': 'truncated 3: a digit',
    tru: "truncated 3: 'true'",
    trux: "syntax 3: 'true'",
    fals0: "syntax 4: 'false'",
    nil: "syntax 1: 'null'",
    '"a': "truncated 2: '\"'",
    '"\n"': 'syntax 1: an escaped control character',
    '"\\x"': 'syntax 2: an escape',
    '"\\': 'truncated 2: an escape',
    '"\\u12g4"': 'syntax 5: a hexadecimal digit',
    '\ufeff1': 'syntax 0: a value',
    '"é"x': 'syntax 4: the end of the value',
    '-1.5E-10': undefined,
    '"\\uD800\u2028"': undefined,
  }
  for (const [text, expected] of Object.entries(table)) t.equal(fault(text), expected, encodeURI(text))
})

t.test('findJsonFault: nests to maxDepth and no deeper, without a stack', async (t) => {
  t.equal(fault('[[[]]]', 3), undefined)
  t.equal(fault('[[[]]]', 2), 'depth 2: nesting of at most 2')
  t.equal(fault('[{"a":{}}]', 2), 'depth 6: nesting of at most 2')
  t.equal(fault('[[],[[]],{}]', 3), undefined)
  t.equal(fault('['.repeat(100_000) + ']'.repeat(100_000)), undefined)
  t.equal(fault('['.repeat(100_000)), 'truncated 100000: a value in the array')
})

t.test('findJsonFault: looks at its part of the bytes only', async (t) => {
  const bytes = Buffer.from('[1] {"a"} 2')
  t.equal(findJsonFault(bytes, 0, 3), undefined)
  t.match(findJsonFault(bytes, 4, 9), { kind: 'syntax', offset: 8, expected: "':'" })
  t.match(findJsonFault(bytes, 4, 8), { kind: 'truncated', offset: 8 })
})
