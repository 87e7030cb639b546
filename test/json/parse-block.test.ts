import * as fc from 'fast-check'
import t from 'tap'
import type { JsonError } from '../../src/errors.ts'
import type { ParseBlockOptions } from '../../src/json/careful-parser.ts'
import { parseBlock } from '../../src/json/parse-block.ts'
import type { JsonLayout } from '../../src/json/json-frames.ts'
import { anyJson, isJson, mutated, vectors } from './fixtures/vectors.ts'

const start = { index: 0, offset: 0, line: 1, column: 1 }
const parse = (text: string | Uint8Array, layout: JsonLayout, options?: ParseBlockOptions, frames?: number) =>
  parseBlock(
    Buffer.from(text as string),
    layout,
    frames === undefined ? start : { ...start, frames },
    options,
  )

/** Each layout of the same records, with more white space than needed if asked. */
const write: Record<Exclude<JsonLayout, 'object'>, (records: readonly unknown[]) => string> = {
  array: (records) => records.map((record) => ` ${JSON.stringify(record, null, 1)}\n`).join(','),
  concat: (records) => records.map((record) => `${JSON.stringify(record, null, '\t')}\n`).join(''),
  lines: (records) => records.map((record) => `${JSON.stringify(record)}\r\n`).join(''),
  seq: (records) => records.map((record) => `\u001e${JSON.stringify(record, null, 1)}\n`).join(''),
}
const layouts = Object.keys(write) as (keyof typeof write)[]

t.test('parseBlock: gives back the records of a block in every layout', async (t) => {
  for (const layout of layouts) {
    fc.assert(
      fc.property(
        fc.array(anyJson),
        fc.constantFrom(undefined, (_: string, value: unknown) => value),
        (records, reviver) => {
          const block = parse(write[layout](records), layout, { reviver }, records.length)
          t.equal(block.error, undefined)
          // property by property would take `__proto__` for a prototype, text does not
          return JSON.stringify(block.records) === JSON.stringify(records) && block.seen === records.length
        },
      ),
    )
    t.same(parse('', layout).records, [], layout)
    t.same(parse(' \n ', layout).records, [], layout)
  }
})

t.test('parseBlock: takes each record that JSON.parse takes, and no other', async (t) => {
  for (const { name, bytes } of vectors) {
    // brackets that do not match, or line ends, would make this more or less than one frame
    for (const layout of layouts.filter((layout) => layout !== 'concat')) {
      if (layout === 'lines' && bytes.includes('\n')) continue
      if (layout === 'array' && !isJson(bytes)) {
        t.equal(parse(bytes, layout, {}, 1).error === undefined, false, `${layout} ${name}`)
        continue
      }
      if (bytes.toString().trim() === '' && layout !== 'array') continue
      const block = layout === 'seq' ? Buffer.concat([Buffer.of(0x1e), bytes, Buffer.of(0x0a)]) : bytes
      t.equal(
        parse(block, layout, { maxDepth: Infinity }).error === undefined,
        isJson(bytes),
        `${layout} ${name}`,
      )
    }
  }
})

t.test('parseBlock: a bad record ends the block, and all before it are delivered', async (t) => {
  const good = fc.array(anyJson, { maxLength: 5 })
  const bad = mutated(anyJson.map((value) => Buffer.from(JSON.stringify(value)))).filter(
    (bytes) =>
      !isJson(bytes) && !bytes.includes('\n') && !bytes.includes(0x1e) && bytes.toString().trim() !== '',
  )
  for (const layout of ['lines', 'seq'] as const) {
    fc.assert(
      fc.property(good, bad, good, (before, bad, after) => {
        const head = Buffer.from(write[layout](before))
        const wrong = Buffer.concat([Buffer.from(layout === 'seq' ? '\u001e' : ''), bad, Buffer.from('\n')])
        const bytes = Buffer.concat([head, wrong, Buffer.from(write[layout](after))])
        const at = { index: 100, offset: 1000, line: 10, column: 1 }
        const block = parseBlock(bytes, layout, at)
        t.equal(JSON.stringify(block.records), JSON.stringify(before))
        t.equal(block.seen, before.length)
        t.equal(block.error?.index, 100 + before.length)
        const offset = block.error?.offset as number
        t.ok(offset >= 1000 + head.length && offset <= 1000 + head.length + wrong.length)
        const text = bytes.subarray(0, offset - 1000)
        t.equal(block.error?.line, 10 + text.filter((byte) => byte === 0x0a).length)
        t.equal(block.error?.column, offset - 1000 - text.lastIndexOf('\n'))

        const skipped = parseBlock(bytes, layout, at, { onInvalid: 'skip' })
        t.equal(JSON.stringify(skipped.records), JSON.stringify([...before, ...after]))
        t.match(skipped, { seen: before.length + 1 + after.length, skipped: 1, error: undefined })
      }),
    )
  }
})

t.test('parseBlock: says what is wrong, and exactly where', async (t) => {
  const cases: [JsonLayout, string, string, string][] = [
    [
      'array',
      '1, {"a":x}',
      'SYNTAX',
      "invalid JSON in record 1 at byte 8 (line 1, column 9): expected a value, got 'x'",
    ],
    [
      'array',
      '1,\n tru ,2',
      'SYNTAX',
      "invalid JSON in record 1 at byte 7 (line 2, column 5): expected 'true', got the end of the element",
    ],
    [
      'array',
      '1,,2',
      'SYNTAX',
      'invalid JSON in record 1 at byte 2 (line 1, column 3): expected a value, got the end of the element',
    ],
    [
      'array',
      '1,',
      'SYNTAX',
      'invalid JSON in record 1 at byte 2 (line 1, column 3): expected a value, got the end of the element',
    ],
    [
      'array',
      '"é€", \u00a01',
      'SYNTAX',
      'invalid JSON in record 1 at byte 9 (line 1, column 10): expected a value, got byte 0xc2',
    ],
    [
      'concat',
      '{}[]"a\\"b"1 true{"a"}',
      'SYNTAX',
      "invalid JSON in record 5 at byte 20 (line 1, column 21): expected ':', got '}'",
    ],
    [
      'concat',
      '{"a":[1',
      'SYNTAX',
      "invalid JSON in record 0 at byte 7 (line 1, column 8): expected ',' or ']', got the end of the value",
    ],
    [
      'concat',
      '"abc\\',
      'SYNTAX',
      'invalid JSON in record 0 at byte 5 (line 1, column 6): expected an escape, got the end of the value',
    ],
    [
      'concat',
      '1,2',
      'SYNTAX',
      "invalid JSON in record 0 at byte 1 (line 1, column 2): expected the end of the value, got ','",
    ],
    [
      'lines',
      '1\n\n{"a":1\n',
      'SYNTAX',
      "invalid JSON in record 1 at byte 9 (line 3, column 7): expected ',' or '}', got the end of the line",
    ],
    [
      'lines',
      '1\n{"a":1',
      'TRUNCATED',
      "invalid JSON in record 1 at byte 8 (line 2, column 7): expected ',' or '}', got the end of the input",
    ],
    [
      'lines',
      '\u00a0\n',
      'SYNTAX',
      'invalid JSON in record 0 at byte 0 (line 1, column 1): expected a value, got byte 0xc2',
    ],
    [
      'lines',
      '\v1\n',
      'SYNTAX',
      'invalid JSON in record 0 at byte 0 (line 1, column 1): expected a value, got byte 0x0b',
    ],
    [
      'seq',
      '\u001e1\n\u001e\u001e{]\n',
      'SYNTAX',
      "invalid JSON in record 1 at byte 6 (line 2, column 4): expected a key or '}', got ']'",
    ],
    [
      'seq',
      '\u001e"a"\u001e12',
      'TRUNCATED',
      'invalid JSON in record 1 at byte 7 (line 1, column 8): expected white space after the value, got the end of the input',
    ],
    [
      'seq',
      '\u001e[12',
      'TRUNCATED',
      "invalid JSON in record 0 at byte 4 (line 1, column 5): expected ',' or ']', got the end of the input",
    ],
  ]
  for (const [layout, text, code, message] of cases) {
    t.match(parse(text, layout).error, { code: `ERR_MILLRACE_JSON_${code}`, message }, text)
  }
  t.ok(parse('{x', 'lines').error?.cause instanceof SyntaxError)
  const at = { index: 2 ** 33, offset: 2 ** 40, line: 2 ** 34, column: 7 }
  t.match(parseBlock(Buffer.from('1 x'), 'array', at).error, {
    index: 2 ** 33,
    offset: 2 ** 40 + 2,
    line: 2 ** 34,
    column: 9,
  })
})

t.test('parseBlock: wrong UTF-8 is an error at its first byte, not U+FFFD', async (t) => {
  const bytes = Buffer.concat([Buffer.from('{"é":1}\n"€\n'), Buffer.of(0xe2, 0x82), Buffer.from('"\n"ok"\n')])
  t.match(parse(bytes, 'lines').error, { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 13 })
  const bad = Buffer.concat([Buffer.from('"é"\n"'), Buffer.of(0xe2, 0x82), Buffer.from('"\n"ok"\n')])
  t.match(parse(bad, 'lines').error, {
    code: 'ERR_MILLRACE_JSON_UTF8',
    index: 1,
    offset: 6,
    line: 2,
    column: 2,
    actual: 'byte 0xe2',
  })
  t.same(parse(bad, 'lines', { onInvalid: 'skip' }).records, ['é', 'ok'])
})

t.test('parseBlock: lines may end in CRLF or not at all, be blank, and hold U+2028', async (t) => {
  t.same(parse('{"a":1}\r\n\r\n \t\n"\u2028"\r\n null \n2', 'lines').records, [{ a: 1 }, '\u2028', null, 2])
  t.equal(parse('1\r2\n', 'lines').error?.offset, 2)
  // joined by commas these would be the three values 1, 2 and [3, 4]
  t.equal(parse('1,2\n[3\n4]\n', 'lines').error?.offset, 1)
})

t.test('parseBlock: counts levels in lines and sequences', async (t) => {
  const nest = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
  for (const [layout, prefix] of [
    ['lines', ''],
    ['seq', '\u001e'],
  ] as const) {
    for (const maxDepth of [1, 5, 1024]) {
      const at = parse(`${prefix}${nest(maxDepth)}\n`, layout, { maxDepth })
      t.equal(at.error, undefined, `${layout} at ${maxDepth}`)
      const past = parse(`${prefix}0\n${prefix}${nest(maxDepth + 1)}\n`, layout, { maxDepth })
      t.match(past.error, {
        code: 'ERR_MILLRACE_JSON_DEPTH',
        index: 1,
        offset: maxDepth + 2 + 2 * prefix.length,
      })
    }
  }
  t.match(parse(nest(100_000), 'lines').error, { code: 'ERR_MILLRACE_JSON_DEPTH', offset: 1024 })
  t.equal(parse(nest(100_000), 'lines', { maxDepth: Infinity }).error, undefined)
  // many brackets are not many levels, and brackets in strings are none
  t.equal(parse(`[${'[],'.repeat(5000)}"${'['.repeat(5000)}"]`, 'lines', { maxDepth: 2 }).error, undefined)
})

t.test('parseBlock: the number of frames guards against an element that is nothing', async (t) => {
  t.same(parse(' ', 'array', {}, 0).records, [])
  t.match(parse(' ', 'array', {}, 1).error, { code: 'ERR_MILLRACE_JSON_SYNTAX', index: 0 })
})

t.test('parseBlock: brackets within an element cannot end the array early', async (t) => {
  t.match(parse('1],[2', 'array').error, { index: 0, offset: 1 })
})

t.test('parseBlock: onInvalid replaces, leaves out, or fails with what it throws', async (t) => {
  const seen: JsonError[] = []
  const block = parse('1\nx\n2\ny\n', 'lines', {
    onInvalid: (error) => {
      seen.push(error)
      return error.index === 1 ? { bad: error.offset } : undefined
    },
  })
  t.same(block.records, [1, { bad: 2 }, 2])
  t.match(block, { seen: 4, skipped: 1, error: undefined })
  t.same(
    seen.map(({ index, line }) => [index, line]),
    [
      [1, 2],
      [3, 4],
    ],
  )
  const mine = new Error('mine')
  const fail = (thrown: unknown) =>
    parse('1\nx\n', 'lines', {
      onInvalid: () => {
        throw thrown
      },
    })
  t.equal(fail(mine).error, mine)
  t.match(fail('text').error, { message: 'not an error: "text"', cause: 'text' })
  t.same(fail(mine).records, [1])
})

t.test('parseBlock: reviver sees each record as a root of its own', async (t) => {
  const keys: string[] = []
  const reviver = (key: string, value: unknown) => {
    keys.push(key)
    return key === 'a' ? String(value) : value
  }
  t.same(parse('{"a":1},[2]', 'array', { reviver }).records, [{ a: '1' }, [2]])
  t.same(keys, ['a', '', '0', ''])
  const drop = (_: string, value: unknown) => (value === 2 ? undefined : value)
  t.match(parse('1\n2\n3', 'lines', { reviver: drop }), { records: [1, 3], seen: 3, skipped: 1 })
  const cause = new RangeError('no')
  const block = parse('1\n 2\n', 'lines', {
    reviver: (_, value) => {
      if (value === 2) throw cause
      return value
    },
  })
  t.match(block.error, { code: 'ERR_MILLRACE_JSON_REVIVER', index: 1, offset: 3, line: 2, column: 2, cause })
  t.same(block.records, [1])
})

t.test('parseBlock: members of an object are records with key and value', async (t) => {
  const members = fc.uniqueArray(fc.tuple(fc.string({ unit: 'grapheme' }), anyJson), {
    selector: ([key]) => key,
  })
  fc.assert(
    fc.property(members, (members) => {
      const text = members
        .map(([key, value]) => ` ${JSON.stringify(key)} :\n${JSON.stringify(value)}`)
        .join(',')
      const block = parse(text, 'object', {}, members.length)
      t.equal(block.error, undefined)
      const expected = members.map(([key, value]) => ({ key, value }))
      return JSON.stringify(block.records) === JSON.stringify(expected)
    }),
  )
  t.same(parse('"a":1,"a":2,"__proto__":3,"\\u0061":4', 'object').records, [
    { key: 'a', value: 1 },
    { key: 'a', value: 2 },
    { key: '__proto__', value: 3 },
    { key: 'a', value: 4 },
  ])
  const cases: [string, number, string][] = [
    ['"a":1, "b" 2', 11, "expected ':', got '2'"],
    ['"a":1, b:2', 7, "expected a key or '}', got 'b'"],
    ['"a":1, "b":', 11, 'expected a value, got the end of the member'],
    ['"a":1, "b":x', 11, "expected a value, got 'x'"],
    ['"a":1, "b', 9, "expected '\"', got the end of the member"],
    ['"a":1, "b":2 3', 13, "expected ',' or '}', got '3'"],
    ['"a":1, ,"c":2', 7, "expected a key or '}', got the end of the member"],
  ]
  for (const [text, offset, message] of cases) {
    const { records, error } = parse(text, 'object')
    t.match(error, { index: 1, offset, code: 'ERR_MILLRACE_JSON_SYNTAX' }, text)
    t.match(error?.message, message)
    t.same(records, [{ key: 'a', value: 1 }])
  }
  const reviver = (_: string, value: unknown) => (value === 2 ? undefined : value)
  t.same(parse('"a":1,"b":2', 'object', { reviver }).records, [{ key: 'a', value: 1 }])
})

t.test('parseBlock: null is a record, left out, or an error', async (t) => {
  for (const [layout, text] of [
    ['array', '1, null,2'],
    ['lines', '1\n null\n2\n'],
  ] as const) {
    t.same(parse(text, layout).records, [1, null, 2])
    t.match(parse(text, layout, { nulls: 'skip' }), { records: [1, 2], seen: 3, skipped: 1 })
    const { records, error } = parse(text, layout, { nulls: 'error' })
    t.same(records, [1])
    t.match(error, {
      code: 'ERR_MILLRACE_JSON_NULL',
      index: 1,
      offset: 3,
      message: /batches: true.*nulls: 'skip'/,
    })
  }
  t.match(parse('x', 'array', { nulls: 'error', onInvalid: () => null }).error, {
    code: 'ERR_MILLRACE_JSON_NULL',
  })
  t.match(parse('null', 'array', { nulls: 'error', onInvalid: 'skip' }).error, {
    code: 'ERR_MILLRACE_JSON_NULL',
  })
})

t.test('parseBlock: takes any view of bytes, and __proto__ as an own property', async (t) => {
  const padded = new Uint8Array(Buffer.from('###[{"__proto__":1}],2###'))
  const view = padded.subarray(3, -3)
  const [first] = parseBlock(view, 'array', start).records as [object[]]
  t.equal(Object.getPrototypeOf(first[0]), Object.prototype)
  t.same(Object.keys(first[0] as object), ['__proto__'])
  const shared = new Uint8Array(new SharedArrayBuffer(4))
  shared.set(Buffer.from('1\n2\n'))
  t.same(parseBlock(shared, 'lines', start).records, [1, 2])
})

t.test('parseBlock: numbered by frames, a record has the number of its line', async (t) => {
  const at = { index: 10, offset: 0, line: 11, column: 1 }
  const text = '1\n\n2\n \t\r\n3'
  const plain = parseBlock(Buffer.from(text), 'lines', at, { numbering: 'frames' })
  t.strictSame(plain.records, [1, 2, 3])
  t.strictSame(plain.numbers, [10, 12, 14])
  t.equal(parseBlock(Buffer.from(text), 'lines', at).numbers, undefined, 'records are numbered by themselves')
  t.equal(parseBlock(Buffer.from('1\n2\n'), 'lines', at, { numbering: 'frames' }).numbers, undefined)

  const indexes: (number | undefined)[] = []
  const onInvalid = ({ index }: { index?: number }) => void indexes.push(index)
  const bad = parseBlock(Buffer.from('1\n\nx\n2\n\n[\n\n3'), 'lines', at, { numbering: 'frames', onInvalid })
  t.strictSame(bad.records, [1, 2, 3])
  t.strictSame(bad.numbers, [10, 13, 17])
  t.strictSame(indexes, [12, 15])
  t.match(parseBlock(Buffer.from('\n\n}'), 'lines', at, { numbering: 'frames' }).error, {
    index: 12,
    line: 13,
    message: /record 12/,
  })

  const elements = parseBlock(Buffer.from('1,x,2'), 'array', at, { numbering: 'frames', onInvalid: 'skip' })
  t.strictSame(elements.numbers, [10, 12])
})

t.test('parseBlock: lines of a block that is decoded in pieces', async (t) => {
  const values = Array.from({ length: 3000 }, (_, i) => ({
    i,
    text: i === 1500 ? 'x'.repeat(100_000) : 'ü'.repeat(i % 50),
  }))
  const text = values.map((value, i) => `${JSON.stringify(value)}\n${i % 700 === 0 ? '\n' : ''}`).join('')
  const at = { index: 0, offset: 0, line: 1, column: 1 }
  const { records, numbers } = parseBlock(Buffer.from(text), 'lines', at, { numbering: 'frames' })
  t.strictSame(records, values)
  t.strictSame(
    numbers,
    values.map((_, i) => i + Math.ceil(i / 700)),
  )
  const broken = parseBlock(Buffer.from(`${text}{"i":}\n`), 'lines', at)
  t.equal(broken.records.length, 3000)
  t.match(broken.error, { index: 3000, offset: Buffer.byteLength(text) + 5 })
})
