import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { FrameCutter } from '../../src/framing/frame-cutter.ts'
import { JsonScanner, type JsonScannerOptions } from '../../src/framing/json-scanner.ts'
import { SeqScanner } from '../../src/framing/seq-scanner.ts'
import { anyCut } from '../../src/testing/any-cut.ts'
import { cutAll, textsOf, type Outcome } from './helpers/cut-all.ts'

const utf8 = (...parts: string[]) => parts.map((part) => Buffer.from(part))
const byteByByte = (text: string) => Array.from(Buffer.from(text), (byte) => Buffer.from([byte]))
const cut = (options: JsonScannerOptions, input: string | Buffer, blockSize = 16) =>
  cutAll(new JsonScanner(options), [Buffer.from(input)], { blockSize, maxFrameLength: 1e6 })

/** What a reader would do with blocks of elements: `undefined` if one of them is not JSON or misses elements. */
function parseElements({ blocks, error }: Outcome): unknown[] | undefined {
  if (error !== undefined) return undefined
  const records: unknown[] = []
  try {
    for (const { text, frames } of blocks) {
      const elements = JSON.parse(`[${Buffer.from(text, 'latin1').toString()}]`) as unknown[]
      if (elements.length !== frames) return undefined
      records.push(...elements)
    }
  } catch {
    return undefined
  }
  return records
}

function parseWhole(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** JSON text with white space, escapes and long strings: some of it beyond the kernel's shortest range. */
const documents = (values: fc.Arbitrary<unknown>) =>
  fc
    .tuple(values, fc.constantFrom(undefined, 1, '\t'), fc.constantFrom('', ' ', '\r\n\t'), fc.boolean())
    .map(([value, indent, around, escape]) => {
      const text = JSON.stringify(value, null, indent)
      const ascii = text.replaceAll(
        /[\u007f-\uffff]/g,
        (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
      )
      return around + (escape ? ascii : text) + around
    })

const values = fc.oneof(
  fc.jsonValue({ noUnicodeString: false, maxDepth: 4 }),
  fc.record({ id: fc.nat(), text: fc.string({ maxLength: 200 }), more: fc.jsonValue() }),
  fc.constantFrom('"', '\\', ',', ']}', '\\"', '[{'),
)
const arrays = documents(fc.array(values, { maxLength: 30 }))

t.test('JsonScanner: blocks of an array parse to its elements, and joined they are its text', async () => {
  fc.assert(
    fc.property(
      arrays.chain((text) => fc.tuple(fc.constant(text), anyCut(Buffer.from(text)))),
      fc.constantFrom(1, 16, 100, 5000),
      fc.constantFrom('auto' as const, 'js' as const),
      ([text, chunks], blockSize, kernel) => {
        const outcome = cutAll(new JsonScanner({ kernel }), chunks, { blockSize, maxFrameLength: 1e6 })
        assert.deepEqual(parseElements(outcome), JSON.parse(text))
        const joined = Buffer.from(`[${textsOf(outcome).join(',')}]`, 'latin1').toString()
        if (outcome.blocks.length > 0) assert.equal(joined, text.trim())
      },
    ),
    { numRuns: 300 },
  )
})

t.test(
  'JsonScanner: a damaged array is refused exactly when JSON.parse refuses it, with or without kernel',
  async () => {
    const damages = fc.array(
      fc.record({
        at: fc.nat(),
        length: fc.nat(3),
        text: fc.constantFrom(
          '',
          ',',
          '[',
          ']',
          '{',
          '}',
          '"',
          '\\',
          ':',
          ' ',
          '1',
          'x',
          ',,',
          '\n',
          '\u0000',
        ),
      }),
      { minLength: 1, maxLength: 3 },
    )
    const damaged = fc.tuple(arrays, damages).map(([text, list]) => {
      let result = text
      for (const { at, length, text: insert } of list) {
        const from = at % (result.length + 1)
        result = result.slice(0, from) + insert + result.slice(from + length)
      }
      // lone surrogates would not survive the way through bytes
      return Buffer.from(result).toString()
    })
    fc.assert(
      fc.property(
        damaged.chain((text) => fc.tuple(fc.constant(text), anyCut(Buffer.from(text)))),
        fc.constantFrom(1, 7, 64, 5000),
        ([text, chunks], blockSize) => {
          const options = { blockSize, maxFrameLength: 1e6 }
          const fast = cutAll(new JsonScanner({ mode: 'array' }), chunks, options)
          assert.deepEqual(
            cutAll(new JsonScanner({ mode: 'array', kernel: 'js' }), [Buffer.from(text)], options),
            fast,
          )
          const whole = parseWhole(text)
          assert.deepEqual(parseElements(fast), Array.isArray(whole) ? whole : undefined)
        },
      ),
      { numRuns: 2000 },
    )
  },
)

t.test(
  'JsonScanner: faults around and between elements are found at their byte, after all elements before',
  async (t) => {
    const cases: [JsonScannerOptions, string, number, string, number][] = [
      // options, input, whole frames before, code, offset
      [{ mode: 'array' }, ' {"a":1}', 0, 'SYNTAX', 1],
      [{ mode: 'array' }, 'x[1]', 0, 'SYNTAX', 0],
      [{}, '[1,2,]', 2, 'SYNTAX', 5],
      [{}, '[1,2, \n ]', 2, 'SYNTAX', 8],
      [{}, '[1,2}', 1, 'SYNTAX', 4],
      [{}, '[1,2]]', 2, 'TRAILING', 5],
      [{}, '[1,2] \n [3]', 2, 'TRAILING', 8],
      [{}, '[1,2', 1, 'TRUNCATED', 4],
      [{}, '[1,2,', 2, 'TRUNCATED', 5],
      [{}, '[', 0, 'TRUNCATED', 1],
      [{}, '[1,"2', 1, 'TRUNCATED', 5],
      [{}, '{"a":[1]', 0, 'TRUNCATED', 8],
      [{}, '"abc', 0, 'TRUNCATED', 4],
      [{ mode: 'concat' }, '1 2 [3', 2, 'TRUNCATED', 6],
      [{}, '', 0, 'EMPTY', 0],
      [{}, ' \n ', 0, 'EMPTY', 3],
      [{ mode: 'array' }, '', 0, 'EMPTY', 0],
      [{ maxDepth: 2 }, '[1,[[2]],[[[3]]]]', 2, 'DEPTH', 11],
      [{ maxDepth: 2, mode: 'concat' }, '1 [[2]] [[[3]]]', 2, 'DEPTH', 10],
      [{ maxDepth: 1, mode: 'concat' }, '[] [[]]', 1, 'DEPTH', 4],
    ]
    for (const [options, input, frames, code, offset] of cases) {
      for (const chunks of [utf8(input), byteByByte(input)]) {
        const { blocks, error } = cutAll(new JsonScanner(options), chunks, { blockSize: 1 })
        t.equal(blocks.length, frames, JSON.stringify(input))
        t.match(error, { name: 'JsonError', code: `ERR_MILLRACE_JSON_${code}`, offset, index: frames })
      }
    }
  },
)

t.test('JsonScanner: a byte order mark is dropped once and whole, wherever it is cut', async (t) => {
  const bom = Buffer.from([0xef, 0xbb, 0xbf])
  for (const mode of ['auto', 'array', 'concat', 'lines'] as const) {
    const text = mode === 'array' || mode === 'auto' ? '[1]' : '1'
    for (const at of [0, 1, 2, 3]) {
      const input = Buffer.concat([bom, Buffer.from(text)])
      const { blocks } = cutAll(new JsonScanner({ mode }), [input.subarray(0, at), input.subarray(at)])
      t.same(textsOf({ blocks }), ['1'])
      const offset = text === '1' ? 3 : 4
      t.match(blocks[0], { index: 0, offset, line: 1, column: offset + 1 })
    }
    for (const part of [1, 2]) {
      const broken = Buffer.concat([bom.subarray(0, part), Buffer.from(text)])
      t.match(cutAll(new JsonScanner({ mode }), [broken]).error, {
        code: 'ERR_MILLRACE_JSON_SYNTAX',
        offset: part,
      })
      t.match(cutAll(new JsonScanner({ mode }), [bom.subarray(0, part)]).error, {
        code: 'ERR_MILLRACE_JSON_TRUNCATED',
        offset: part,
      })
    }
  }
  const two = Buffer.concat([bom, bom, Buffer.from('[1]')])
  t.match(cutAll(new JsonScanner({ mode: 'array' }), [two]).error, {
    code: 'ERR_MILLRACE_JSON_SYNTAX',
    offset: 3,
  })
})

t.test('JsonScanner: auto decides by the first value and what stands behind it on its line', async (t) => {
  const cases: [string, string, string[]][] = [
    [' \n[1,2]', 'array', ['1', '2']],
    ['[]', 'array', []],
    ['[ \n ]', 'array', []],
    ['{"a":1}\n{"b":2}\n', 'lines', ['{"a":1}\n', '{"b":2}\n']],
    ['{"a":1} \t\r\n2', 'lines', ['{"a":1} \t\r\n', '2']],
    ['\n \n1\n\n2\n', 'lines', ['1\n', '\n', '2\n']],
    ['{"a":1}', 'lines', ['{"a":1}']],
    ['"a b"', 'lines', ['"a b"']],
    ['42', 'lines', ['42']],
    ['42  ', 'lines', ['42  ']],
    ['true\nx y\n', 'lines', ['true\n', 'x y\n']],
    ['{"a":1}{"b":2}\n', 'concat', ['{"a":1}', '{"b":2}']],
    ['{"a":1} {"b":2}', 'concat', ['{"a":1} ', '{"b":2}']],
    ['{\n"a":1}\n{"b":2}\n', 'concat', ['{\n"a":1}', '\n{"b":2}']],
    ['1 2\n3', 'concat', ['1 ', '2', '\n3']],
    ['1[2]"3"4', 'concat', ['1', '[2]', '"3"', '4']],
  ]
  for (const [input, layout, frames] of cases) {
    for (const chunks of [utf8(input), byteByByte(input)]) {
      const scanner = new JsonScanner()
      t.equal(scanner.layout, undefined)
      const outcome = cutAll(scanner, chunks, { blockSize: 1 })
      t.same(textsOf(outcome), frames, JSON.stringify(input))
      t.equal(scanner.layout, layout)
      t.equal(outcome.error, undefined)
      for (const { line, offset } of outcome.blocks) t.equal(line, input.slice(0, offset).split('\n').length)
    }
  }
})

t.test('JsonScanner: an input without values is fine where it may be', async (t) => {
  for (const input of ['', ' \n', '\ufeff']) {
    t.same(cut({ allowEmpty: true }, input), { blocks: [] })
    t.same(cut({ mode: 'array', allowEmpty: true }, input), { blocks: [] })
    t.same(cut({ mode: 'concat' }, input), { blocks: [] })
  }
  t.same(cut({ mode: 'lines' }, ''), { blocks: [] })
})

t.test('JsonScanner: values one after another come whole, whatever they are made of', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(values, fc.constantFrom(' ', '\n', ' \r\n\t')), { maxLength: 20 }).chain((list) => {
        const text = list.map(([value, space]) => JSON.stringify(value) + space).join('')
        return fc.tuple(fc.constant(list.map(([value]) => value)), anyCut(Buffer.from(text)))
      }),
      fc.constantFrom('auto' as const, 'js' as const),
      ([list, chunks], kernel) => {
        const outcome = cutAll(new JsonScanner({ mode: 'concat', kernel }), chunks, {
          blockSize: 1,
          maxFrameLength: 1e6,
        })
        assert.equal(outcome.error, undefined)
        const parsed = textsOf(outcome).map(
          (text) => JSON.parse(Buffer.from(text, 'latin1').toString()) as unknown,
        )
        assert.deepEqual(parsed, JSON.parse(JSON.stringify(list)))
      },
    ),
    { numRuns: 300 },
  )
})

t.test('JsonScanner: two inputs that take turns do not disturb each other', async () => {
  const list = Array.from({ length: 60 }, (_, i) => ({ i, text: `,]"\\${'x'.repeat(i * 20)}` }))
  const text = JSON.stringify(list)
  for (const size of [300, 701, 4096]) {
    const runs = [JSON.stringify(text.length), text].map((other, i) => {
      const input = Buffer.from(i === 0 ? `[${text}, ${other}]` : text)
      const cutter = new FrameCutter(new JsonScanner(), { blockSize: 2048, maxFrameLength: 1e6 })
      return { input, cutter, at: 0, blocks: [] as string[] }
    })
    const take = ({ cutter, blocks }: (typeof runs)[0]) => {
      for (let block = cutter.next(); block; block = cutter.next()) blocks.push(block.bytes.toString())
    }
    while (runs.some(({ at, input }) => at < input.length)) {
      for (const run of runs) {
        if (run.at >= run.input.length) continue
        run.cutter.write(run.input.subarray(run.at, (run.at += size)))
        take(run)
      }
    }
    for (const run of runs) {
      run.cutter.end()
      take(run)
    }
    assert.deepEqual(JSON.parse(`[${runs[0]!.blocks.join(',')}]`), [list, text.length])
    assert.deepEqual(JSON.parse(`[${runs[1]!.blocks.join(',')}]`), list)
  }
})

t.test('JsonScanner: maxDepth holds at the very level on the kernel too', async (t) => {
  const nested = (depth: number) => `[${'1,'.repeat(200)}${'['.repeat(depth)}${']'.repeat(depth)}, 2]`
  for (const kernel of ['auto', 'js'] as const) {
    t.equal(cut({ kernel }, nested(1024), 65_536).error, undefined)
    t.match(cut({ kernel }, nested(1025), 65_536).error, {
      code: 'ERR_MILLRACE_JSON_DEPTH',
      offset: 1 + 400 + 1024,
      index: 200,
    })
    const deep = cut({ kernel, maxDepth: Infinity }, nested(100_000), 65_536)
    t.equal(deep.error, undefined)
    t.equal(deep.blocks.length, 3)
  }
})

t.test('JsonScanner: path leads to what JSON.parse finds there', async () => {
  const keys = fc.constantFrom('a', 'data', 'ключ', 'k"y', '\\', '', '\n', 'x'.repeat(300), '0', '__proto__x')
  const cases = fc
    .tuple(fc.array(keys, { maxLength: 4 }), fc.array(values, { maxLength: 8 }), fc.boolean())
    .chain(([path, list, isObject]) => {
      const target: unknown = isObject ? Object.fromEntries(list.map((value, i) => [`k${i}`, value])) : list
      const around = path.map(() =>
        fc.tuple(
          fc.dictionary(fc.string({ maxLength: 5 }), values, { maxKeys: 4 }),
          fc.dictionary(fc.string({ maxLength: 5 }), values, { maxKeys: 4 }),
          fc.array(values, { maxLength: 4 }),
        ),
      )
      return fc.tuple(...around).map((levels) => {
        let document: unknown = target
        for (let i = path.length - 1; i >= 0; i--) {
          const [before, after, list] = levels[i]!
          const key = path[i]!
          if (key === '0') document = [document, ...list]
          else {
            delete before[key]
            delete after[key]
            document = { ...before, [key]: document, ...after }
          }
        }
        return { path, isObject, target, document }
      })
    })
  fc.assert(
    fc.property(
      cases
        .chain((it) => documents(fc.constant(it.document)).map((text) => ({ ...it, text })))
        .chain((it) => anyCut(Buffer.from(it.text)).map((chunks) => ({ ...it, chunks }))),
      fc.constantFrom(1, 64, 5000),
      fc.constantFrom('auto' as const, 'js' as const),
      ({ path, isObject, target, text, chunks }, blockSize, kernel) => {
        const scanner = new JsonScanner({ path, kernel })
        const outcome = cutAll(scanner, chunks, { blockSize, maxFrameLength: 1e6 })
        assert.equal(outcome.error, undefined)
        assert.equal(scanner.layout, isObject ? 'object' : 'array')
        const [open, close] = isObject ? '{}' : '[]'
        const joined = Buffer.from(open + textsOf(outcome).join(',') + close, 'latin1').toString()
        assert.deepEqual(JSON.parse(joined), JSON.parse(JSON.stringify(target)))
        for (const { line, column, offset } of outcome.blocks) {
          const before = Buffer.from(text).toString('latin1', 0, offset)
          assert.equal(line, before.split('\n').length)
          assert.equal(column, offset - before.lastIndexOf('\n'))
        }
      },
    ),
    { numRuns: 500 },
  )
})

t.test(
  'JsonScanner: path takes the first of two equal keys, reads escapes, and steps over anything else',
  async (t) => {
    const frames = (path: string[], input: string) => textsOf(cut({ path }, input, 1))
    t.same(frames(['a'], '{"a":[1],"a":[2]}'), ['1'])
    t.same(frames(['data', 'items'], String.raw`{"x":{"items":[0]},"d\u0061ta":{"\u0069tems":[1,2]}}`), [
      '1',
      '2',
    ])
    t.same(frames(['a'], String.raw`{"\x":1,"a\\":[2],"A":"]}","a":[3]}`), ['3'])
    t.same(frames(['x', '2', 'y'], '{"x":[[9,{"y":[0]}],1,{"y":[4,5]},7]}'), ['4', '5'])
    t.same(frames([], ' {"k":1, "l":[2]} '), ['"k":1', ' "l":[2]'])
    t.same(frames(['a'], '{"a":{}}'), [])
    t.same(frames(['a'], '{"b":bad value, "a":[1]}'), ['1'])
  },
)

t.test('JsonScanner: path says what is wrong on the way down, at the target and behind it', async (t) => {
  const cases: [string[], string, number, string, number][] = [
    [['a'], '{"b":[1]}', 0, 'PATH', 8],
    [['a'], '{}', 0, 'PATH', 1],
    [['a', 'b'], '{"a":{"c":1},"b":[1]}', 0, 'PATH', 11],
    [['a'], '{"a":7}', 0, 'PATH', 5],
    [['a', 'b'], '{"a":"b"}', 0, 'PATH', 5],
    [['a'], '[1]', 0, 'PATH', 0],
    [['1'], '[[1]]', 0, 'PATH', 4],
    [['0'], '[]', 0, 'PATH', 1],
    [['01'], '[[1],[2]]', 0, 'PATH', 0],
    [['a'], '{"b":1,x', 0, 'SYNTAX', 7],
    [['a'], '{"a" 1', 0, 'SYNTAX', 5],
    [['a'], '{"a":[1}', 0, 'SYNTAX', 7],
    [['a'], '{"a":{"b":1]', 0, 'SYNTAX', 11],
    [['a'], '{"a":{"b":1,}}', 1, 'SYNTAX', 12],
    [['a'], '{"a":[1] x}', 1, 'SYNTAX', 9],
    [['a'], '{"a":[1]]', 1, 'SYNTAX', 8],
    [['a'], '{"a":[1],"b":2]', 1, 'SYNTAX', 14],
    [['a'], '{"a":[1]}}', 1, 'TRAILING', 9],
    [['a'], '{"a":[1]} 1', 1, 'TRAILING', 10],
    [['a'], '', 0, 'EMPTY', 0],
    [['a'], '{"a', 0, 'TRUNCATED', 3],
    [['a'], '{"a":', 0, 'TRUNCATED', 5],
    [['a'], '{"b":[[[', 0, 'TRUNCATED', 8],
    [['a'], '{"a":[1,', 1, 'TRUNCATED', 8],
    [['a'], '{"a":[1]', 1, 'TRUNCATED', 8],
    [['a'], '{"a":[1],"b":"}', 1, 'TRUNCATED', 15],
    [['a', 'b'], '{"a":{"b":[1]}', 1, 'TRUNCATED', 14],
  ]
  for (const [path, input, frames, code, offset] of cases) {
    for (const chunks of [utf8(input), byteByByte(input)]) {
      const { blocks, error } = cutAll(new JsonScanner({ path }), chunks, { blockSize: 1 })
      t.equal(blocks.length, frames, input)
      t.match(error, { name: 'JsonError', code: `ERR_MILLRACE_JSON_${code}`, offset }, input)
    }
  }
})

t.test('JsonScanner: options are checked', async (t) => {
  for (const options of [
    { mode: 'x' },
    { maxDepth: 0 },
    { allowEmpty: 1 },
    { kernel: 'x' },
    { path: 'a.b' },
    { path: [1] },
  ]) {
    t.throws(() => new JsonScanner(options as never), OptionError)
  }
  t.throws(() => new JsonScanner({ mode: 'lines', path: ['a'] }), {
    message: /^option path: expected no path/,
  })
})

t.test('SeqScanner: a text begins with a separator, or several, and ends before the next', async (t) => {
  const seq = (input: string) => cutAll(new SeqScanner(), byteByByte(input), { blockSize: 1 })
  t.same(textsOf(seq('\x1e{"a":1}\n\x1e\x1e2\n')), ['\x1e{"a":1}\n', '\x1e\x1e2\n'])
  t.same(seq(''), { blocks: [] })
  t.match(seq('1\n\x1e2\n'), { blocks: [], error: { code: 'ERR_MILLRACE_JSON_SYNTAX', offset: 0 } })
  const cutOff = seq('\x1e1\n\x1e')
  t.same(textsOf(cutOff), ['\x1e1\n'])
  t.match(cutOff.error, { name: 'JsonError', code: 'ERR_MILLRACE_JSON_TRUNCATED', offset: 4, index: 1 })
})
