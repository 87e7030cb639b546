/**
 * A way to write dates and times, as a pattern of these tokens, with everything else taken as it stands: `YYYY`, `MM`, `M`,
 * `Mon`, `DD`, `D`, `HH`, `H`, `mm`, `ss`, `SSS`, and `Z` for a zone, which is written as `Z`. Dates without a zone are read
 * as UTC, which keeps them as they were written.
 */
export type DatePattern = string

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

const FIELDS: Record<string, string> = {
  YYYY: '(\\d{4})',
  MM: '(\\d{2})',
  M: '(\\d{1,2})',
  Mon: `(${MONTHS.join('|')})`,
  DD: '(\\d{2})',
  D: '(\\d{1,2})',
  HH: '(\\d{2})',
  H: '(\\d{1,2})',
  mm: '(\\d{2})',
  ss: '(\\d{2})',
  SSS: '(\\d{3})',
  Z: '(Z)',
}

const TOKEN = /YYYY|Mon|MM|M|DD|D|HH|H|mm|ss|SSS|Z/g

const DATES = ['YYYY-MM-DD', 'YYYY/MM/DD', 'DD.MM.YYYY', 'MM/DD/YYYY', 'DD/MM/YYYY', 'M/D/YYYY', 'D.M.YYYY']
const NAMED = ['Mon DD YYYY', 'Mon D YYYY', 'DD Mon YYYY', 'D Mon YYYY', 'Mon D, YYYY']
const TIMES = ['HH:mm', 'HH:mm:ss', 'HH:mm:ss.SSS']

/** What is tried, in this order: of two that both fit, the stricter one comes first. */
export const DATE_PATTERNS: readonly DatePattern[] = [
  ...DATES,
  ...NAMED,
  ...DATES.flatMap((date) =>
    [' ', 'T'].flatMap((gap) => TIMES.flatMap((time) => [`${date}${gap}${time}`, `${date}${gap}${time}Z`])),
  ),
  ...TIMES,
]

/** Reads and writes dates of one pattern, as whole numbers of its finest unit since 1970. */
export class DateFormat {
  readonly pattern: DatePattern
  /** Milliseconds of one unit: a day, a minute, a second, or one. */
  readonly unit: number
  readonly #regexp: RegExp
  readonly #tokens: readonly string[]
  readonly #literals: readonly string[]

  constructor(pattern: DatePattern) {
    this.pattern = pattern
    this.#tokens = pattern.match(TOKEN) ?? []
    this.#literals = pattern.split(TOKEN)
    const source = this.#literals
      .map(
        (literal, i) =>
          literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') + (FIELDS[this.#tokens[i] ?? ''] ?? ''),
      )
      .join('')
    this.#regexp = new RegExp(`^${source}$`)
    const has = (token: string) => this.#tokens.includes(token)
    this.unit = has('SSS') ? 1 : has('ss') ? 1000 : has('mm') ? 60_000 : 86_400_000
  }

  /** The number of units, or undefined for a text that is not such a date, or no date of the calendar. */
  parse(text: string): number | undefined {
    const match = this.#regexp.exec(text)
    if (match === null) return undefined
    let [year, month, day, hour, minute, second, ms] = [1970, 1, 1, 0, 0, 0, 0]
    for (const [i, token] of this.#tokens.entries()) {
      const part = match[i + 1]!
      if (token === 'YYYY') year = +part
      else if (token === 'Mon') month = MONTHS.indexOf(part) + 1
      else if (token === 'MM' || token === 'M') month = +part
      else if (token === 'DD' || token === 'D') day = +part
      else if (token === 'HH' || token === 'H') hour = +part
      else if (token === 'mm') minute = +part
      else if (token === 'ss') second = +part
      else if (token === 'SSS') ms = +part
    }
    if (hour > 23 || minute > 59 || second > 59) return undefined
    const date = new Date(0)
    date.setUTCFullYear(year, month - 1, day)
    if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
    return date.setUTCHours(hour, minute, second, ms) / this.unit
  }

  /** The text of a number of units. */
  format(units: number): string {
    const date = new Date(units * this.unit)
    let text = this.#literals[0]!
    for (const [i, token] of this.#tokens.entries()) text += field(date, token) + this.#literals[i + 1]!
    return text
  }
}

function field(date: Date, token: string): string {
  const two = (n: number) => (n < 10 ? `0${n}` : String(n))
  switch (token) {
    case 'YYYY':
      return String(date.getUTCFullYear()).padStart(4, '0')
    case 'Mon':
      return MONTHS[date.getUTCMonth()]!
    case 'MM':
      return two(date.getUTCMonth() + 1)
    case 'M':
      return String(date.getUTCMonth() + 1)
    case 'DD':
      return two(date.getUTCDate())
    case 'D':
      return String(date.getUTCDate())
    case 'HH':
      return two(date.getUTCHours())
    case 'H':
      return String(date.getUTCHours())
    case 'mm':
      return two(date.getUTCMinutes())
    case 'ss':
      return two(date.getUTCSeconds())
    case 'SSS':
      return String(date.getUTCMilliseconds()).padStart(3, '0')
    default:
      return 'Z'
  }
}

/** The first pattern that fits every one of the texts; with day and month in doubt, the one that all of them allow. */
export function detectDateFormat(texts: Iterable<string>): DateFormat | undefined {
  let left: DateFormat[] | undefined
  for (const text of texts) {
    left = (left ?? DATE_PATTERNS.map((pattern) => new DateFormat(pattern))).filter(
      (format) => format.parse(text) !== undefined,
    )
    if (left.length === 0) return undefined
  }
  // 1:05 is a time only if it is written like one; a pattern with one-digit fields must write back what it has read
  for (const format of left ?? []) {
    let same = true
    for (const text of texts) {
      if (format.format(format.parse(text)!) !== text) {
        same = false
        break
      }
    }
    if (same) return format
  }
  return undefined
}
