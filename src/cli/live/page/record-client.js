// The page's end of the protocol: asks for records a portion at a time, so that a slow page takes no more than it can show, and goes on
// where it was when the connection comes back.

/** Records of a portion and of a message, where nothing limits the speed. */
const PORTION = 20_000
const BATCH = 500
/** Portions a second where something does. */
const PORTIONS_PER_SECOND = 10
/** Wait before the first attempt to connect again, and the longest one, in milliseconds. */
const FIRST_DELAY = 250
const LONGEST_DELAY = 5000

/**
 * @typedef {object} Run
 * @property {number} count
 * @property {string | number} seed
 * @property {string[]} conditions
 * @property {number} rate  records a second, Infinity for as fast as it goes
 */

export class RecordClient {
  #url
  #handlers
  #socket
  #run
  #ids = 0
  #delay = FIRST_DELAY
  #timer

  /**
   * @param {string} url
   * @param {object} handlers  onConnection('connecting' | 'open' | 'closed'), onRecords(records, bytes), onComplete(), onError(message)
   */
  constructor(url, handlers) {
    this.#url = url
    this.#handlers = handlers
  }

  connect() {
    this.#handlers.onConnection('connecting')
    const socket = new WebSocket(this.#url)
    this.#socket = socket
    socket.addEventListener('open', () => {
      this.#delay = FIRST_DELAY
      this.#handlers.onConnection('open')
      if (this.#run !== undefined) this.#ask()
    })
    socket.addEventListener('message', ({ data }) => this.#receive(data))
    socket.addEventListener('close', () => {
      clearTimeout(this.#timer)
      this.#handlers.onConnection('closed')
      setTimeout(() => this.connect(), this.#delay)
      this.#delay = Math.min(LONGEST_DELAY, this.#delay * 2)
    })
  }

  /** Has the server look at conditions, so that records are there at once when they are asked for. @param {Pick<Run, 'seed' | 'conditions'>} wish */
  prepare({ seed, conditions }) {
    this.#send({ action: 'generate', count: 0, seed, conditions, id: 'prepare' })
  }

  /** @param {Run} run */
  start(run) {
    this.#run = { ...run, received: 0, startedAt: performance.now(), id: '' }
    this.#ask()
  }

  cancel() {
    clearTimeout(this.#timer)
    if (this.#run !== undefined) this.#send({ action: 'cancel', id: this.#run.id })
    this.#run = undefined
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  /** Asks for the next portion, when it is time. */
  #ask() {
    const run = this.#run
    const left = run.count - run.received
    if (left === 0) {
      this.#run = undefined
      this.#handlers.onComplete()
      return
    }
    const isLimited = run.rate < Infinity
    const early = isLimited ? run.startedAt + (run.received / run.rate) * 1000 - performance.now() : 0
    if (early > 0) {
      this.#timer = setTimeout(() => this.#ask(), early)
      return
    }
    const portion = isLimited ? Math.max(1, Math.round(run.rate / PORTIONS_PER_SECOND)) : PORTION
    run.id = `portion-${++this.#ids}`
    const { seed, conditions, received: skip, id } = run
    const count = Math.min(left, portion)
    this.#send({
      action: 'generate',
      id,
      count,
      batch_size: Math.min(count, BATCH),
      seed,
      skip,
      ...(conditions.length > 0 && { conditions }),
    })
  }

  #receive(text) {
    const { id, status, message, records } = JSON.parse(text)
    const run = this.#run
    if (run === undefined || id !== run.id) return
    if (status === 'complete') this.#ask()
    else if (status === 'error') {
      this.#run = undefined
      this.#handlers.onError(message)
    } else if (records.length > 0) {
      run.received += records.length
      this.#handlers.onRecords(records, text.length)
    }
  }
}
