import t from 'tap'
import { JsonError, MillraceError } from '../../src/index.ts'
import { packError, unpackError } from '../../src/workers/error-transport.ts'

/** As it arrives on the other side. */
const send = (thrown: unknown) => unpackError(structuredClone(packError(thrown)))

t.test('an error keeps class, name, message, stack, code, own fields and causes', (t) => {
  class Teapot extends TypeError {
    code = 'ERR_TEAPOT'
    details = { status: 418, list: [1n, new Map([[1, 2]])] }
    inner = new RangeError('inside')
    handle = () => {}
    partial = ['not a fact']
  }
  const error = new Teapot('short', { cause: new SyntaxError('deep', { cause: { code: 5 } }) })
  error.name = 'Teapot'
  const got = send(error) as Teapot
  t.ok(got instanceof TypeError)
  t.match(got, {
    name: 'Teapot',
    message: 'short',
    stack: error.stack,
    code: 'ERR_TEAPOT',
    details: error.details,
  })
  t.ok(got.inner instanceof RangeError)
  t.notOk('handle' in got)
  t.notOk('partial' in got)
  t.ok(got.cause instanceof SyntaxError)
  t.strictSame((got.cause as Error).cause, { code: 5 })
  t.strictSame(Object.keys(got).sort(), ['code', 'details', 'inner'])
  t.end()
})

t.test('an error of the package comes back as what it is', (t) => {
  const error = new JsonError('ERR_MILLRACE_JSON_SYNTAX', 'bad', { index: 3, offset: 40, line: 2, column: 1 })
  const got = send(error) as JsonError
  t.ok(got instanceof JsonError)
  t.ok(MillraceError.is(got))
  t.match(got, {
    name: 'JsonError',
    code: 'ERR_MILLRACE_JSON_SYNTAX',
    index: 3,
    offset: 40,
    line: 2,
    column: 1,
  })
  t.end()
})

t.test('errors that are many, foreign, or odd', (t) => {
  const many = send(new AggregateError([new Error('a'), 'b'], 'both')) as AggregateError
  t.ok(many instanceof AggregateError)
  t.match(many.errors, [{ message: 'a' }, 'b'])
  t.match(send(new DOMException('no', 'AbortError')), { name: 'AbortError', message: 'no', code: 20 })
  const odd = new Error('odd')
  Object.defineProperty(odd, 'trap', {
    get() {
      throw new Error('trapped')
    },
  })
  Object.assign(odd, { name: 7, message: { not: 'text' }, stack: 5 })
  t.match(send(odd), { name: '7', message: 'an instance of Object', trap: undefined })
  t.end()
})

t.test('a chain of causes that bites its tail is cut', (t) => {
  const error = new Error('round')
  error.cause = error
  let depth = 0
  for (let at: unknown = send(error); at instanceof Error; at = at.cause) depth++
  t.equal(depth, 17)
  t.end()
})

t.test('what is no error arrives as it is, or described', (t) => {
  for (const value of [undefined, null, 7, 5n, 'text', { code: 1, list: [1, 2] }])
    t.strictSame(send(value), value)
  t.equal(send(Symbol('s')), 'Symbol(s)')
  t.match(
    send(() => {}),
    /^function/,
  )
  t.equal(send({ call() {} }), 'an instance of Object')
  t.end()
})
