// The page of millrace serve: asks for records, and shows them as they arrive.
import { DistributionChart, RateChart, percent } from './charts.js'
import { ColumnCounter } from './column-counter.js'
import { ConditionList } from './conditions.js'
import { RecordClient } from './record-client.js'

const $ = (id) => document.getElementById(id)
const count = (n) => n.toLocaleString('en-US')
/** Rows of the table, and milliseconds between two pictures. */
const ROWS = 12
const FRAME = 100

/** @type {{ token: string, model?: any }} */
const page = {
  token: new URLSearchParams(location.hash.slice(1)).get('token') ?? sessionStorage.getItem('token') ?? '',
}
// a token is not to be seen, nor to be sent on with the address
if (location.hash !== '') history.replaceState(null, '', location.pathname)

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault()
  page.token = $('token').value
  void open()
})
void open()

async function open() {
  const headers = page.token === '' ? {} : { Authorization: `Bearer ${page.token}` }
  let response
  try {
    response = await fetch('/model', { headers })
  } catch {
    setConnection('closed')
    setTimeout(open, 1000)
    return
  }
  $('token-form').hidden = response.ok
  if (!response.ok) {
    $('token-wrong').textContent = page.token === '' ? '' : (await response.json()).error
    $('token').focus()
    return
  }
  if (page.token !== '') sessionStorage.setItem('token', page.token)
  show(await response.json())
}

function show(model) {
  const { name, method, rows, columns, maxCount } = model
  document.title = `${name} · millrace`
  $('name').textContent = name
  $('facts').textContent = `${method}, learnt from ${count(rows)} rows of ${columns.length} columns`
  $('count').max = maxCount
  $('main').hidden = false
  const isNumber = ({ bins, dateFormat }) => bins !== undefined && dateFormat === undefined
  $('heads').replaceChildren(
    ...columns.map((column) => {
      const head = document.createElement('th')
      head.scope = 'col'
      head.textContent = column.name
      if (isNumber(column)) head.className = 'number'
      return head
    }),
  )
  $('column').replaceChildren(...columns.map((column) => new Option(column.name, column.name)))

  const rate = new RateChart($('rate-chart'))
  const distribution = new DistributionChart($('distribution'))
  const conditions = new ConditionList($('conditions'), columns, () => prepare())
  let freshSeed = makeSeed()
  let run
  let counters = columns.map((column) => new ColumnCounter(column))
  let pending

  const chosen = () => columns.findIndex((column) => column.name === $('column').value)
  const seed = () => {
    const text = $('seed').value.trim()
    return text === '' ? freshSeed : /^\d{1,15}$/.test(text) ? Number(text) : text
  }

  const client = new RecordClient(socketAddress(), {
    onConnection(state) {
      setConnection(state)
      if (state === 'open') prepare()
      if (run === undefined) return
      if (state === 'closed')
        setState('bad', `Connection lost after ${count(run.received)} records. Connecting again …`)
      else if (state === 'open') setState('running', 'Receiving …')
    },
    onRecords(records, bytes) {
      run.received += records.length
      run.bytes += bytes
      for (const record of records)
        for (let i = 0; i < columns.length; i++) counters[i].add(record[columns[i].name])
      run.last = [...records.slice(-ROWS).toReversed(), ...run.last].slice(0, ROWS)
      if (run.first === undefined) {
        run.first = performance.now() - run.startedAt
        draw()
      } else pending ??= setTimeout(draw, FRAME)
    },
    onComplete: () => finish('good', 'Complete:'),
    onError: (message) => finish('bad', `${message}.`),
  })
  client.connect()

  /** The server begins to think about what is likely to be asked. */
  function prepare() {
    if (run === undefined) client.prepare({ seed: seed(), conditions: conditions.texts() })
    tellCommand()
  }

  function draw() {
    clearTimeout(pending)
    pending = undefined
    const { received, bytes, first, last, startedAt } = run
    const now = performance.now()
    $('received').textContent = count(received)
    $('bytes').textContent = `${(bytes / 1e6).toFixed(1)} MB`
    $('first').textContent = first === undefined ? '–' : `${Math.max(1, Math.round(first))} ms`
    // over half a second or more, so that it can be read
    if (now - run.tick >= 500 || !run.isRunning) {
      const speed = ((received - run.ticked) / Math.max(1, now - run.tick)) * 1000
      if (now - run.tick >= 100) {
        rate.add((now - startedAt) / 1000, speed)
        $('speed').textContent = count(Math.round(speed))
      }
      run.tick = now
      run.ticked = received
    }
    $('rows').replaceChildren(...last.map(rowOf))
    drawDistribution()
  }

  function drawDistribution() {
    const column = columns[chosen()]
    const counter = counters[chosen()]
    const isEmpty = counter.total === 0
    if (!isEmpty) distribution.update(counter)
    const isShown = !isEmpty && (column.bars ?? column.bins) !== undefined
    $('distance').textContent = isShown ? `${percent(counter.distance())} apart` : ''
  }

  function rowOf(record) {
    const row = document.createElement('tr')
    for (const column of columns) {
      const cell = row.insertCell()
      const value = record[column.name]
      cell.textContent = value === null ? 'none' : String(value)
      cell.className = value === null ? 'null' : isNumber(column) ? 'number' : ''
    }
    return row
  }

  function finish(kind, text) {
    const seconds = (performance.now() - run.startedAt) / 1000
    run.isRunning = false
    draw()
    const { received } = run
    if (received > 0) $('speed').textContent = count(Math.round(received / seconds))
    setState(kind, `${text} ${count(received)} records in ${seconds.toFixed(seconds < 10 ? 2 : 0)}\u00a0s.`)
    const column = columns[chosen()]
    $('rate-chart').setAttribute(
      'aria-label',
      `${count(Math.round(received / seconds))} records a second on average`,
    )
    $('distribution').setAttribute(
      'aria-label',
      `${column.name}: ${$('distance').textContent} from the training data`,
    )
    setRunning(false)
    run = undefined
    freshSeed = makeSeed()
    prepare()
  }

  function setRunning(isRunning) {
    $('start').disabled = isRunning
    $('cancel').disabled = !isRunning
  }

  function tellCommand() {
    const parameters = new URLSearchParams({ count: $('count').value, seed: String(seed()) })
    for (const text of conditions.texts()) parameters.append('where', text)
    const bearer = page.token === '' ? '' : ' -H "Authorization: Bearer $MILLRACE_TOKEN"'
    const address = `${location.origin}/records?${parameters}`.replaceAll("'", '%27')
    $('command').textContent = `curl -H 'Accept: application/x-ndjson'${bearer} '${address}'`
  }

  $('request').addEventListener('submit', (event) => {
    event.preventDefault()
    if (run !== undefined) return
    const startedAt = performance.now()
    run = {
      received: 0,
      bytes: 0,
      last: [],
      first: undefined,
      startedAt,
      tick: startedAt,
      ticked: 0,
      isRunning: true,
    }
    counters = columns.map((column) => new ColumnCounter(column))
    rate.clear()
    $('speed').textContent = '–'
    setRunning(true)
    setState('running', 'Receiving …')
    const wish = {
      count: Number($('count').value),
      seed: seed(),
      conditions: conditions.texts(),
      rate: Number($('rate').value),
    }
    tellCommand()
    client.start(wish)
  })
  $('cancel').addEventListener('click', () => {
    client.cancel()
    finish('', 'Cancelled:')
  })
  $('add').addEventListener('click', () => conditions.add())
  for (const id of ['count', 'seed']) $(id).addEventListener('change', () => prepare())
  const showColumn = () => {
    distribution.show(columns[chosen()])
    drawDistribution()
  }
  const redraw = () => {
    rate.draw()
    showColumn()
  }
  $('column').addEventListener('change', showColumn)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw)
  let width = innerWidth
  addEventListener('resize', () => {
    if (innerWidth !== width) redraw()
    width = innerWidth
  })
  const first = columns.findIndex(({ bars, bins }) => (bars ?? bins) !== undefined)
  $('column').selectedIndex = Math.max(0, first)
  showColumn()
}

function socketAddress() {
  const address = new URL('/', location.href)
  address.protocol = address.protocol.replace('http', 'ws')
  if (page.token !== '') address.searchParams.set('token', page.token)
  return address.href
}

function setConnection(state) {
  $('connection').className = `connection ${state}`
  $('connection').lastElementChild.textContent = {
    connecting: 'connecting',
    open: 'connected',
    closed: 'not connected',
  }[state]
}

function setState(kind, text) {
  $('state').className = kind
  $('state').textContent = text
}

function makeSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0]
}
