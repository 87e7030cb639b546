import t from 'tap'
import { OptionError } from '../../src/errors.ts'
import { errorMessage, parseRequest, statusMessage } from '../../src/websocket/protocol.ts'

const limits = { batchSize: 100, maxCount: 1000, maxBatchSize: 500 }

t.test('parseRequest: what is left out has its default', async (t) => {
  t.match(parseRequest('{"action":"generate"}', limits), {
    action: 'generate',
    count: 100,
    batchSize: 100,
    id: undefined,
  })
  t.match(
    parseRequest(
      '{"action":"generate","count":1000,"batch_size":500,"conditions":{"a":1},"seed":"x","id":7}',
      limits,
    ),
    {
      count: 1000,
      batchSize: 500,
      conditions: { a: 1 },
      seed: 'x',
      id: 7,
    },
  )
  t.same(parseRequest('{"action":"stats","id":"s"}', limits), { action: 'stats', id: 's' })
})

t.test('parseRequest: everything else is refused by name, with the id if there is one', async (t) => {
  const cases: [text: string, message: RegExp, id?: unknown][] = [
    ['', /expected JSON, got ""/],
    ['[1]', /expected an object .* got an array of 1/],
    ['null', /got null/],
    ['{}', /action: expected 'generate' or 'stats' or 'cancel', got undefined/],
    ['{"action":"stream","id":1}', /action: .* got "stream"/, 1],
    ['{"action":"generate","id":{}}', /id: expected a number or a text/],
    ['{"action":"generate","n_samples":3,"id":"a"}', /n_samples: expected nothing/, 'a'],
    ['{"action":"generate","count":-1}', /count: expected an integer from 0 to 1000, got -1/],
    ['{"action":"generate","count":1001}', /count/],
    ['{"action":"generate","count":1.5}', /count/],
    ['{"action":"generate","batch_size":0}', /batch_size: expected an integer from 1 to 500, got 0/],
    ['{"action":"generate","batch_size":501}', /batch_size/],
    ['{"action":"generate","conditions":"age>3"}', /conditions/],
    ['{"action":"generate","seed":-1}', /seed/],
    ['{"action":"generate","seed":{}}', /seed/],
  ]
  for (const [text, message, id] of cases) {
    try {
      parseRequest(text, limits)
      t.fail(text)
    } catch (error) {
      t.match(
        error,
        { code: 'ERR_MILLRACE_WEBSOCKET_REQUEST', message, ...(id !== undefined && { id }) },
        text,
      )
    }
  }
})

t.test(
  'statusMessage, errorMessage: have no records, and say no more of what went wrong inside than that it did',
  async (t) => {
    t.same(JSON.parse(statusMessage('complete', 3, { count: 5 })), {
      id: 3,
      status: 'complete',
      count: 5,
      records: [],
    })
    t.match(JSON.parse(errorMessage(new OptionError('x', 1, '2'), undefined)), {
      status: 'error',
      code: 'ERR_MILLRACE_OPTION',
      message: 'option x: expected 2, got 1',
      records: [],
    })
    const inner = JSON.parse(errorMessage(new Error('password is 1234'), 'a')) as object
    t.match(inner, {
      id: 'a',
      code: 'ERR_MILLRACE_WEBSOCKET_INTERNAL',
      message: 'the records cannot be made',
    })
  },
)
