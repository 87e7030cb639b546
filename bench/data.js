// Deterministic JSON test data, written once to bench/data/. Records of about 24, 219 and 4250 bytes, and 233 bytes with
// text outside ASCII in every block.
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('./data/', import.meta.url))

/** xorshift32: the same data on every machine. @param {number} seed */
function random(seed) {
  let x = seed | 0 || 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) / 2 ** 32
  }
}

const words = 'river stone wheel water grain miller canal bucket timber lantern harbour meadow'.split(' ')
const wide = ['水車', 'ручей', 'łąka', 'früh', '🌾🌊', 'naïve', '粉挽き', 'Mühle']

/** @typedef {'small' | 'medium' | 'large' | 'wide'} Shape */

/** @type {Record<Shape, (i: number, next: () => number) => unknown>} */
const shapes = {
  small: (i, next) => ({ id: i, v: Math.floor(next() * 1e6) }),
  medium: (i, next) => medium(i, next, words),
  wide: (i, next) => medium(i, next, [...words.slice(0, 4), ...wide]),
  large: (i, next) => ({ id: i, title: pick(words, next), text: prose(next, 4150) }),
}

/** @param {number} i @param {() => number} next @param {string[]} from */
function medium(i, next, from) {
  return {
    id: i,
    name: `${pick(from, next)} ${pick(from, next)}`,
    level: next() < 0.01 ? 'error' : 'info',
    active: next() < 0.5,
    score: Math.round(next() * 1e6) / 1e3,
    parent: next() < 0.1 ? null : Math.floor(next() * 1e6),
    place: { lat: Math.round(next() * 18e6) / 1e5 - 90, lon: Math.round(next() * 36e6) / 1e5 - 180 },
    tags: [pick(from, next), pick(from, next)],
    note: `${pick(from, next)} ${pick(from, next)} ${pick(from, next)}`,
  }
}

/** @param {string[]} from @param {() => number} next */
const pick = (from, next) => /** @type {string} */ (from[Math.floor(next() * from.length)])

/** @param {() => number} next @param {number} length */
function prose(next, length) {
  let text = ''
  while (text.length < length) text += next() < 0.05 ? `"${pick(words, next)}"\n` : `${pick(words, next)} `
  return text
}

/**
 * A file of about `bytes` bytes of records.
 * @param {Shape} shape
 * @param {'array' | 'ndjson'} format
 * @param {number} bytes
 */
export function dataFile(shape, format, bytes) {
  mkdirSync(folder, { recursive: true })
  const path = `${folder}${shape}-${bytes / 1e6}.${format === 'array' ? 'json' : 'ndjson'}`
  const countPath = `${path}.count`
  if (!existsSync(countPath)) {
    const fd = openSync(`${path}.part`, 'w')
    const next = random(42)
    let text = format === 'array' ? '[' : ''
    let written = 0
    let records = 0
    while (written + text.length < bytes) {
      const value = JSON.stringify(shapes[shape](records, next))
      text += format === 'array' ? (records === 0 ? value : `,${value}`) : `${value}\n`
      records++
      if (text.length > 1 << 20) {
        written += writeSync(fd, text)
        text = ''
      }
    }
    writeSync(fd, format === 'array' ? `${text}]` : text)
    closeSync(fd)
    renameSync(`${path}.part`, path)
    writeFileSync(countPath, String(records))
  }
  return { path, bytes: statSync(path).size, records: Number(readFileSync(countPath, 'utf8')), format, shape }
}

/** A file of `bytes` bytes that no compression makes smaller. @param {number} bytes */
export function bytesFile(bytes) {
  mkdirSync(folder, { recursive: true })
  const path = `${folder}bytes-${bytes}.bin`
  if (!existsSync(path)) {
    const fd = openSync(`${path}.part`, 'w')
    const next = random(7)
    const block = Buffer.alloc(Math.min(bytes, 1 << 20))
    for (let at = 0; at + 4 <= block.length; at += 4) block.writeUInt32LE(Math.floor(next() * 2 ** 32), at)
    for (let written = 0; written < bytes; written += block.length) {
      block.writeUInt32LE(written / block.length, 0)
      writeSync(fd, block, 0, Math.min(block.length, bytes - written))
    }
    closeSync(fd)
    renameSync(`${path}.part`, path)
  }
  return { path, bytes }
}

/** A vocabulary of made-up words, short ones first and most often drawn. */
function vocabulary() {
  const next = random(11)
  const syllables = 'ba ce di fo gu ka le mi no pu ra se ti vo wu ja xe qui str ent ing'.split(' ')
  return Array.from({ length: 4000 }, (_, i) =>
    Array.from({ length: 1 + Math.floor(Math.log2(i + 2) / 3) + (next() < 0.3 ? 1 : 0) }, () =>
      pick(syllables, next),
    ).join(''),
  )
}

/** @typedef {'mixed' | 'log' | 'binary'} Kind */

/**
 * A file of `bytes` bytes to be packed. `mixed`: prose and JSON lines by turns. `log`: an access log. `binary`: the executable
 * of Node, as often as it takes.
 * @param {Kind} kind
 * @param {number} bytes
 */
export function packFile(kind, bytes) {
  mkdirSync(folder, { recursive: true })
  const path = `${folder}pack-${kind}-${bytes / 1e6}${kind === 'binary' ? `-${process.versions.node}` : ''}.bin`
  if (existsSync(path)) return { path, bytes }
  const fd = openSync(`${path}.part`, 'w')
  if (kind === 'binary') {
    const executable = readFileSync(process.execPath)
    for (let written = 0; written < bytes;) {
      written += writeSync(fd, executable, 0, Math.min(executable.length, bytes - written))
    }
  } else {
    const next = random(kind === 'log' ? 5 : 3)
    const from = vocabulary()
    const word = () => /** @type {string} */ (from[Math.floor(next() ** 3 * from.length)])
    let text = ''
    for (let written = 0, line = 0; written < bytes; line++) {
      text += kind === 'log' ? logLine(line, next, word) : mixedLine(line, next, word)
      if (text.length < 1 << 20) continue
      written += writeSync(fd, Buffer.from(text), 0, Math.min(text.length, bytes - written))
      text = ''
    }
  }
  closeSync(fd)
  renameSync(`${path}.part`, path)
  return { path, bytes }
}

/** @param {number} i @param {() => number} next @param {() => string} word */
function mixedLine(i, next, word) {
  if (Math.floor(i / 2000) % 2 === 0) {
    return `${Array.from({ length: 8 + Math.floor(next() * 12) }, word).join(' ')}.\n`
  }
  return `${JSON.stringify({
    id: i,
    time: new Date(1.7e12 + i * 977).toISOString(),
    user: Math.floor(next() * 2 ** 32).toString(16),
    name: `${word()} ${word()}`,
    score: Math.round(next() * 1e6) / 1e3,
    tags: [word(), word()],
    note: Array.from({ length: 6 }, word).join(' '),
  })}\n`
}

/** @param {number} i @param {() => number} next @param {() => string} word */
function logLine(i, next, word) {
  const address = `10.${Math.floor(next() * 4)}.${Math.floor(next() * 256)}.${Math.floor(next() * 256)}`
  const status = next() < 0.9 ? 200 : next() < 0.5 ? 404 : 500
  return `${address} - - [${new Date(1.7e12 + i * 37).toISOString()}] "GET /${word()}/${word()}?id=${Math.floor(next() * 1e6)} HTTP/1.1" ${status} ${Math.floor(next() ** 4 * 1e5)} "-" "Mozilla/5.0 (X11; Linux x86_64) ${word()}/${Math.floor(next() * 100)}.0"\n`
}
