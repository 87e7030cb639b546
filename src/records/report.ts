import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { checkString } from '../options.ts'
import { evaluate, sameColumns, type EvaluateOptions, type Evaluation } from './evaluate.ts'
import { REPORT_SCRIPT, REPORT_STYLE } from './report-page.ts'
import { reportData } from './report-data.ts'
import { Table } from './table.ts'

/** Options of {@link report}. */
export interface ReportOptions extends EvaluateOptions {
  /** Heading of the page. @defaultValue 'Synthetic records' */
  readonly title?: string
  /** What was evaluated before, so that it is not done again. */
  readonly evaluation?: Evaluation
}

/**
 * Takes a real table and a synthetic one, and gives a page of HTML that compares them: scores, the distributions of each column side
 * by side, correlations. All that it needs is in it: it can be mailed, and opened without a network.
 *
 * @remarks Some 70 KB and a few bytes a bar: the tables are not in it, but the names of their most frequent categories are.
 * @throws {@link OptionError} and {@link TableError} like {@link evaluate}.
 * @see https://github.com/leeoniya/uPlot which draws the distributions
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { writeFile } from 'node:fs/promises'
 * import { Table, fit, report } from 'millrace/records'
 *
 * const real = Table.from(Array.from({ length: 600 }, (_, i) => ({ n: i % 30, odd: i % 2 === 1 ? 'odd' : 'even' })))
 * const model = await fit(real)
 * const page = await report(real, model.generate(600, { seed: 1 }), { title: 'Odd & even', target: 'odd' })
 * await writeFile('report.html', page)
 * assert(page.startsWith('<!doctype html>') && page.includes('Odd &amp; even'))
 * assert(!/<(script|link|img)[^>]+(src|href)=/.test(page))
 * ```
 */
export async function report(
  real: Table | Iterable<object>,
  synthetic: Table | Iterable<object>,
  options: ReportOptions = {},
): Promise<string> {
  const { title = 'Synthetic records', evaluation } = options
  checkString('title', title)
  const table = real instanceof Table ? real : Table.from(real)
  const other = sameColumns(table, synthetic)
  const scores = evaluation ?? evaluate(table, other, options)
  const [script, style] = await Promise.all(['uPlot.iife.min.js', 'uPlot.min.css'].map(plotFile))
  const data = JSON.stringify(reportData(table, other, scores)).replaceAll('<', '\\u003c')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<style>${style}${REPORT_STYLE}</style>
</head>
<body>
<header>
<h1>${escape(title)}</h1>
<p>${rowsText(scores)}</p>
</header>
<main>
<section class="tiles" aria-label="Scores">
${tiles(scores).join('\n')}
</section>
<h2>Columns</h2>
<p class="legend"><span class="real"></span> real <span class="synthetic"></span> synthetic · share of rows</p>
<section class="charts" id="charts" aria-label="Distributions"></section>
<h2>Pairs of columns</h2>
<section class="maps" id="maps" aria-label="Heat maps"></section>
<h2>Where they differ most</h2>
${worst(scores)}
</main>
<script type="application/json" id="data">${data}</script>
<script>${script}</script>
<script>${REPORT_SCRIPT}</script>
</body>
</html>
`
}

/** A file of uPlot, which draws distributions. */
export function plotFile(name: string): Promise<string> {
  return readFile(createRequire(import.meta.url).resolve(`uplot/dist/${name}`), 'utf8')
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

const count = (n: number) => n.toLocaleString('en-US')
const percent = (x: number) => `${(100 * x).toFixed(1)} %`

function rowsText({ rows }: Evaluation): string {
  const held = rows.holdout === undefined ? '' : `, ${count(rows.holdout)} rows held out`
  return `${count(rows.synthetic)} synthetic rows against ${count(rows.real)} real ones${held}`
}

function tile(name: string, value: string, note: string): string {
  return `<div class="tile"><div class="name">${escape(name)}</div><div class="value">${value}</div><div class="note">${escape(note)}</div></div>`
}

function tiles({ overall, shapes, pairs, privacy, utility }: Evaluation): string[] {
  const { exactCopies, holdoutCopies, closestDistance, holdoutDistance } = privacy
  const all = [
    tile('Overall', percent(overall), 'mean of shapes and pairs'),
    tile('Column shapes', percent(shapes), 'distributions of single columns'),
    tile('Column pairs', percent(pairs), 'how two columns go together'),
    tile(
      'Exact copies',
      percent(exactCopies),
      holdoutCopies === undefined
        ? 'of the synthetic rows are real ones'
        : `${percent(holdoutCopies)} of the rows held out`,
    ),
    tile(
      'Closest record',
      closestDistance.toFixed(3),
      holdoutDistance === undefined
        ? 'median distance, 0 to 1'
        : `median distance; ${holdoutDistance.toFixed(3)} held out`,
    ),
  ]
  if (utility !== undefined) {
    const { target, metric, synthetic, real } = utility
    const text = (x: number) => (metric === 'accuracy' ? percent(x) : x.toFixed(3))
    all.push(
      tile(
        `Predicts ${target}`,
        text(synthetic),
        `${metric === 'accuracy' ? 'accuracy' : 'R²'}; ${text(real)} trained on real rows`,
      ),
    )
  }
  return all
}

/** Lines of the table of what differs most. */
const WORST = 12

function worst({ columnScores, pairScores }: Evaluation): string {
  const lines = [
    ...columnScores.map(({ column, metric, score }) => ({ what: column, metric, score })),
    ...pairScores.map(({ columns, metric, score }) => ({ what: columns.join(' × '), metric, score })),
  ]
    .sort((a, b) => a.score - b.score)
    .slice(0, WORST)
  const rows = lines.map(
    ({ what, metric, score }) =>
      `<tr><td>${escape(what)}</td><td>${metric}</td><td class="number">${score.toFixed(4)}</td></tr>`,
  )
  return `<div class="scroll"><table class="worst"><thead><tr><th>Column or pair</th><th>Measure</th><th>Score</th></tr></thead><tbody>${rows.join('')}</tbody></table></div>`
}
