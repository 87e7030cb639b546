/* global uPlot */
// The two charts of the page. Colours come from the style sheet, so they are drawn anew when the theme changes.

const HEIGHT = 280
const font = '12px system-ui, sans-serif'
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()
export const percent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.0995 ? 1 : 0)} %`

/** 12,345 as 12.3k. */
export function short(x) {
  const size = Math.abs(x)
  for (const [scale, letter] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e3, 'k'],
  ])
    if (size >= scale) return Number((x / scale).toPrecision(3)) + letter
  return String(Number(x.toPrecision(4)))
}

function axis(more) {
  const line = { stroke: css('--line'), width: 1 }
  return { stroke: css('--soft'), font, grid: line, ticks: { ...line, size: 4 }, ...more }
}

function makeChart(element, options, data) {
  const { clientWidth: width } = element
  const base = { width, height: HEIGHT, legend: { show: false }, cursor: { show: false } }
  element.replaceChildren()
  return new uPlot({ ...base, ...options }, data, element)
}

/** Records a second over the last minute. */
export class RateChart {
  #element
  #plot
  #data = [[], []]

  constructor(element) {
    this.#element = element
    this.draw()
  }

  clear() {
    this.#data = [[], []]
    this.#plot.setData(this.#data)
  }

  /** @param {number} seconds @param {number} rate */
  add(seconds, rate) {
    const [x, y] = this.#data
    x.push(seconds)
    y.push(rate)
    while (x[0] < seconds - 60) {
      x.shift()
      y.shift()
    }
    this.#plot.setData(this.#data)
    this.#element.setAttribute('aria-label', `${short(rate)} records a second now`)
  }

  draw() {
    this.#plot?.destroy()
    const stroke = css('--synthetic')
    const options = {
      scales: {
        x: { time: false, range: (_, low, high) => [low ?? 0, Math.max(high ?? 0, (low ?? 0) + 5)] },
        y: { range: (_, _low, high) => [0, (high || 1) * 1.1] },
      },
      axes: [
        axis({ size: 30, space: 60, values: (_, ticks) => ticks.map((x) => `${x} s`) }),
        axis({ size: 52, space: 40, values: (_, ticks) => ticks.map(short) }),
      ],
      series: [{}, { stroke, fill: css('--synthetic-fill'), width: 2, points: { show: false } }],
    }
    this.#plot = makeChart(this.#element, options, this.#data)
  }
}

/** One column: the training data, and what was received. */
export class DistributionChart {
  #element
  #column
  #update = () => {}
  #plot

  constructor(element) {
    this.#element = element
  }

  /** @param {object} column  as /model describes it */
  show(column) {
    this.#column = column
    this.draw()
  }

  /** @param {import('./column-counter.js').ColumnCounter} counter */
  update(counter) {
    this.#update(counter)
  }

  draw() {
    this.#plot?.destroy()
    this.#plot = undefined
    this.#element.replaceChildren()
    const { bars, bins } = this.#column
    if (bars) this.#update = this.#drawBars(this.#column)
    else if (bins) this.#update = this.#drawBins(this.#column)
    else {
      const text = document.createElement('p')
      text.className = 'none'
      text.textContent = 'Values of this column are made one by one, not drawn from a distribution.'
      this.#element.append(text)
      this.#update = () => {}
    }
  }

  #drawBars({ bars, nullShare }) {
    const names = [
      ...bars.values.map(String),
      ...(bars.others > 0 ? ['all others'] : []),
      ...(nullShare > 0 ? ['(none)'] : []),
    ]
    const learnt = [
      ...bars.shares,
      ...(bars.others > 0 ? [bars.others] : []),
      ...(nullShare > 0 ? [nullShare] : []),
    ]
    const list = document.createElement('div')
    list.className = 'bars'
    const rows = names.map((name, i) => {
      const label = document.createElement('span')
      label.textContent = label.title = name
      const both = document.createElement('div')
      const [real, own] = ['real', 'synthetic'].map((kind) => {
        const bar = document.createElement('i')
        bar.className = kind
        both.append(bar)
        return bar
      })
      const number = document.createElement('span')
      number.className = 'number'
      list.append(label, both, number)
      return { real, own, number, share: learnt[i] }
    })
    this.#element.append(list)
    const fill = (shares) => {
      const most = Math.max(...learnt, ...shares)
      for (const [i, { real, own, number, share }] of rows.entries()) {
        real.style.width = `${(100 * share) / most}%`
        own.style.width = `${(100 * shares[i]) / most}%`
        number.textContent = percent(shares[i])
      }
    }
    fill(learnt.map(() => 0))
    return (counter) => {
      const shares = counter.shares()
      const others = shares.pop()
      if (bars.others > 0) shares.push(others)
      if (nullShare > 0) shares.push(counter.nulls / Math.max(1, counter.total))
      fill(shares)
    }
  }

  #drawBins({ bins: { low, width, shares }, dateFormat }) {
    const isTime = dateFormat !== undefined
    const unit = isTime ? 1e-3 : 1
    const edges = [...shares, 0].map((_, i) => (low + i * width) * unit)
    const high = edges.at(-1)
    // a step begins where its bin does, and the last one needs an end
    const stepped = uPlot.paths.stepped({ align: 1 })
    const style = (name, more) => ({
      stroke: css(`--${name}`),
      paths: stepped,
      points: { show: false },
      ...more,
    })
    const values = (_, ticks) => ticks.map(percent)
    const options = {
      ...(isTime && { tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), 'Etc/UTC') }),
      scales: {
        x: { time: isTime, range: [edges[0], high] },
        y: { range: (_, _low, high) => [0, (high || 1) * 1.08] },
      },
      axes: [
        axis({
          size: isTime ? 44 : 30,
          space: 60,
          ...(!isTime && { values: (_, ticks) => ticks.map(short) }),
        }),
        axis({ size: 52, space: 40, values }),
      ],
      series: [{}, style('real', { fill: css('--real-fill'), width: 1 }), style('synthetic', { width: 2 })],
    }
    const learnt = [...shares, 0]
    this.#plot = makeChart(this.#element, options, [edges, learnt, learnt.map(() => null)])
    return (counter) => this.#plot.setData([edges, learnt, [...counter.shares(), 0]])
  }
}
