import t from 'tap'
import { chooseCoding, chooseEncoder, mediaTypeOf } from '../../src/http/negotiate.ts'

const encoders = [
  { contentType: 'application/json' },
  { contentType: 'application/x-ndjson; terminator=true', aliases: ['application/ndjson'] },
  { contentType: 'text/csv; charset=utf-8' },
]
const chosen = (accept: string | undefined) => chooseEncoder(accept, encoders)?.contentType.split(';')[0]

t.test(
  'chooseEncoder: the client’s favourite, of equals the first, and none if none is accepted',
  async (t) => {
    for (const [accept, expected] of [
      [undefined, 'application/json'],
      ['', 'application/json'],
      ['*/*', 'application/json'],
      ['text/html, */*;q=0.1', 'application/json'],
      ['text/csv', 'text/csv'],
      ['TEXT/CSV', 'text/csv'],
      ['text/*', 'text/csv'],
      ['application/ndjson', 'application/x-ndjson'],
      ['application/json;q=0.5, text/csv;q=0.9', 'text/csv'],
      ['application/json;q=0, */*', 'application/x-ndjson'],
      ['application/*;q=0.2, application/x-ndjson', 'application/x-ndjson'],
      ['text/csv; header=present; q=1', 'text/csv'],
      ['text/html', undefined],
      ['application/json;q=x', undefined],
      [', ,', undefined],
    ] as const) {
      t.equal(chosen(accept), expected, String(accept))
    }
  },
)

t.test('chooseCoding: the client’s favourite, of equals the first, and none unless it asks', async (t) => {
  const codings = ['zstd', 'br', 'gzip'] as const
  for (const [accept, expected] of [
    [undefined, undefined],
    ['', undefined],
    ['identity', undefined],
    ['gzip', 'gzip'],
    ['gzip, deflate, br', 'br'],
    ['gzip, deflate, br, zstd', 'zstd'],
    ['*', 'zstd'],
    ['br;q=0, *', 'zstd'],
    ['gzip;q=0.5, identity', undefined],
    ['gzip;q=1.0, br;q=0.8', 'gzip'],
    ['deflate', undefined],
  ] as const) {
    t.equal(chooseCoding(accept, codings), expected, String(accept))
  }
})

t.test('mediaTypeOf: no parameters, lower case', async (t) => {
  t.equal(mediaTypeOf('Text/CSV; charset=utf-8'), 'text/csv')
})
