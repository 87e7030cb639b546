/** The style of a report, for light and dark. */
export const REPORT_STYLE = `
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --text: #1b2430; --soft: #5b6776; --line: #dfe3e8;
  --real: #3b6fb6; --real-fill: #3b6fb659; --synthetic: #d9772b; --synthetic-fill: #d9772b59; --minus: 178,60,60; --plus: 45,100,180; --good: 30,130,95;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #12161c; --card: #1b212a; --text: #e6eaf0; --soft: #9aa6b5; --line: #2e3743;
    --real: #78a9ee; --real-fill: #78a9ee59; --synthetic: #f2a05c; --synthetic-fill: #f2a05c59; --minus: 230,110,110; --plus: 110,165,245; --good: 80,195,150;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
header, main { max-width: 1280px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 28px; }
main { padding-bottom: 48px; }
h1 { margin: 0; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 36px 0 10px; font-size: 18px; }
header p, .legend { margin: 4px 0 12px; color: var(--soft); }
.legend span { display: inline-block; width: 14px; height: 12px; margin: 0 4px 0 10px; vertical-align: -1px; border-radius: 2px; border: 2px solid; }
.legend span:first-child { margin-left: 0; }
.legend .real { border-color: var(--real); background: var(--real-fill); }
.legend .synthetic { border-color: var(--synthetic); background: var(--synthetic-fill); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: 12px; margin-top: 18px; }
.tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 14px 16px; min-width: 0; }
.tile .name { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.tile .value { font-size: 28px; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile .note { color: var(--soft); font-size: 12.5px; line-height: 1.35; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); gap: 14px; }
.card { padding: 12px 14px; min-width: 0; }
.card h3 { display: flex; justify-content: space-between; gap: 12px; margin: 0 0 6px; font-size: 14px; }
.card h3 span:first-child { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.card h3 .score { color: var(--soft); font-weight: 400; font-variant-numeric: tabular-nums; white-space: nowrap; }
.card .read { height: 18px; margin-top: 2px; color: var(--soft); font-size: 12px; line-height: 18px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-variant-numeric: tabular-nums; }
.bars { display: grid; grid-template-columns: minmax(60px, 38%) 1fr; gap: 3px 10px; align-items: center; font-size: 12px; }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(380px, 100%), 1fr)); gap: 14px; align-items: start; }
.maps .wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
table.map { border-collapse: separate; border-spacing: 2px; font-size: 11.5px; font-variant-numeric: tabular-nums; }
table.map th { font-weight: 400; color: var(--soft); }
table.map th.row { text-align: right; padding-right: 6px; max-width: 150px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
table.map th.column { height: 112px; vertical-align: bottom; padding: 0 0 4px; }
table.map th.column span { display: block; margin: 0 auto; writing-mode: vertical-rl; transform: rotate(180deg); max-height: 108px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
table.map td { min-width: 38px; height: 26px; padding: 0; text-align: center; border-radius: 3px; }
table.worst { border-collapse: collapse; font-size: 13.5px; background: var(--card); border: 1px solid var(--line); }
table.worst th, table.worst td { padding: 6px 14px; text-align: left; border-bottom: 1px solid var(--line); }
table.worst th { color: var(--soft); font-weight: 500; }
table.worst .number { text-align: right; font-variant-numeric: tabular-nums; }
.u-legend { display: none; }
`

/** What draws the plots, in the browser: distributions with uPlot, which stands before it in the page, and heat maps as tables. */
export const REPORT_SCRIPT = `
'use strict'
const data = JSON.parse(document.getElementById('data').textContent)
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
const element = (tag, parent, className, text) => {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text !== undefined) made.textContent = text
  parent.append(made)
  return made
}
const percent = (x) => (x === 0 ? '0 %' : x < 0.0005 ? '< 0.1 %' : (100 * x).toFixed(x < 0.1 ? 1 : 0) + ' %')
const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + '…' : text)
const number = (x) => {
  const size = Math.abs(x)
  for (const [scale, letter] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) if (size >= 10 * scale || (size >= scale && x % 100 === 0)) return +(x / scale).toFixed(1) + letter
  return String(+x.toPrecision(4))
}
const date = (ms) => new Date(ms).toISOString().replace('T00:00:00.000Z', '').replace(/:00.000Z/, '').replace('T', ' ')
const HEIGHT = 210
const ROW = 22

function plot(chart, card, read) {
  const width = card.clientWidth - 28
  const [text, line, grid] = [css('--soft'), css('--line'), css('--line')]
  const font = '11px system-ui, sans-serif'
  const labels = chart.labels
  const series = (side, align) => ({
    label: side, stroke: css('--' + side), fill: css('--' + side + '-fill'), width: 1.5, points: { show: false },
    paths: labels ? uPlot.paths.bars({ size: [0.4, 60], align, gap: 1 })
      : side === 'real' ? uPlot.paths.bars({ size: [1, Infinity], gap: 1 }) : uPlot.paths.stepped({ align: 1 }),
  })
  const say = (u) => {
    const i = u.cursor.idx
    if (i === null || i === undefined) { read.textContent = ''; return }
    const k = labels ? i : Math.min(i, chart.real.length - 1)
    const at = labels ? labels[k] : chart.isTime ? date(chart.x[k]) : number(chart.x[k])
    read.textContent = at + ': real ' + percent(chart.real[k]) + ', synthetic ' + percent(chart.synthetic[k])
  }
  const values = (u, ticks) => ticks.map((x) => (x === 0 ? '0' : +(100 * x).toFixed(2) + ' %'))
  const axis = { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } }
  const base = { width, legend: { show: false }, hooks: { setCursor: [say] } }
  if (labels) {
    // bars that lie, so that names of any length can be read
    const names = labels.map((label) => short(label, 22))
    const pen = document.createElement('canvas').getContext('2d')
    pen.font = font
    const longest = 10 + Math.ceil(Math.max(...names.map((name) => pen.measureText(name).width)))
    const options = {
      ...base, height: 40 + ROW * Math.max(labels.length, 4),
      scales: { x: { time: false, ori: 1, dir: -1, range: [-0.6, Math.max(labels.length, 4) - 0.4] }, y: { ori: 0, dir: 1, range: (u, low, high) => [0, (high || 1) * 1.06] } },
      axes: [
        { ...axis, side: 3, size: longest, gap: 4, grid: { show: false }, ticks: { show: false }, splits: () => labels.map((_, i) => i), values: () => names },
        { ...axis, side: 2, size: 26, space: 56, values },
      ],
      cursor: { x: false, y: false, drag: { x: false, y: false } },
      series: [{}, series('real', -1), series('synthetic', 1)],
    }
    return new uPlot(options, [chart.x, chart.real, chart.synthetic], card)
  }
  const step = chart.x.length > 1 ? chart.x[1] - chart.x[0] : 1
  // a step begins where its bin does, and the last one needs an end
  const steps = { x: chart.x.map((x) => x - step / 2), y: chart.synthetic.slice() }
  steps.x.push(chart.x[chart.x.length - 1] + step / 2)
  steps.y.push(0)
  const unit = chart.isTime ? 1e-3 : 1
  const xs = uPlot.join([[chart.x.map((x) => x * unit), chart.real], [steps.x.map((x) => x * unit), steps.y]])
  const options = {
    ...base, height: HEIGHT,
    scales: { x: { time: Boolean(chart.isTime), range: [(chart.x[0] - step * 0.7) * unit, (chart.x[chart.x.length - 1] + step * 0.7) * unit] }, y: { range: (u, low, high) => [0, (high || 1) * 1.08] } },
    axes: [
      { ...axis, size: chart.isTime ? 40 : 28, space: 56, ...(chart.isTime ? {} : { values: (u, ticks) => ticks.map(number) }) },
      { ...axis, size: 48, space: 34, values },
    ],
    ...(chart.isTime ? { tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), 'Etc/UTC') } : {}),
    cursor: { x: true, y: false, points: { show: false }, drag: { x: false, y: false } },
    series: [{}, { ...series('real'), width: 0, spanGaps: true }, { ...series('synthetic'), fill: undefined, width: 2, spanGaps: true }],
    hooks: { setCursor: [(u) => {
      const at = u.cursor.left
      if (at === null || at === undefined || at < 0) { read.textContent = ''; return }
      const x = u.posToVal(at, 'x') / unit
      const k = Math.max(0, Math.min(chart.x.length - 1, Math.round((x - chart.x[0]) / step)))
      say({ cursor: { idx: k } })
    }] },
  }
  return new uPlot(options, xs, card)
}

const charts = document.getElementById('charts')
const cards = data.charts.map((chart) => {
  const card = element('article', charts, 'card')
  const head = element('h3', card)
  element('span', head, '', chart.column).title = chart.column
  element('span', head, 'score', (100 * chart.score).toFixed(1) + ' %').title = chart.metric
  const read = element('div', card, 'read')
  return { chart, card, read, drawn: undefined }
})
const draw = () => {
  for (const one of cards) {
    one.drawn?.destroy()
    one.drawn = plot(one.chart, one.card, one.read)
    one.card.append(one.read)
  }
}

const maps = document.getElementById('maps')
for (const { title, names, cells, scale } of data.heatMaps) {
  const card = element('article', maps, 'card' + (names.length > 8 ? ' wide' : ''))
  element('h3', card, '', title)
  const table = element('table', element('div', card, 'scroll'), 'map')
  const head = element('tr', element('thead', table))
  element('th', head)
  for (const name of names) {
    const th = element('th', head, 'column')
    element('span', th, '', name).title = name
  }
  const body = element('tbody', table)
  for (const [i, row] of cells.entries()) {
    const tr = element('tr', body)
    element('th', tr, 'row', names[i]).title = names[i]
    for (const [j, value] of row.entries()) {
      const td = element('td', tr, '', value === null ? '' : value.toFixed(2))
      if (value === null) continue
      td.title = names[i] + ' × ' + names[j] + ': ' + value
      // what is worse than 0.5 is all the same red; the rest goes from red by way of nothing to green
      td.style.background = scale === 'correlation'
        ? 'rgba(var(' + (value < 0 ? '--minus' : '--plus') + '),' + (0.06 + 0.6 * Math.abs(value)).toFixed(3) + ')'
        : value < 0.9 ? 'rgba(var(--minus),' + Math.min(0.65, 0.1 + (0.9 - value) * 1.4).toFixed(3) + ')'
        : 'rgba(var(--good),' + (0.08 + (value - 0.9) * 4).toFixed(3) + ')'
    }
  }
}

draw()
let width = innerWidth
addEventListener('resize', () => {
  if (innerWidth === width) return
  width = innerWidth
  draw()
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
`
