import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import t from 'tap'
import { unpackError } from '../../src/workers/error-transport.ts'
import { SlotRing } from '../../src/workers/slot-ring.ts'
import { packRecords, unpackRecords } from '../../src/workers/record-transport.ts'
import type { TaskMessage, TaskReply, TaskSpec } from '../../src/workers/task-protocol.ts'
import { TaskRunner } from '../../src/workers/task-runner.ts'
import { TASK_STATE, TaskTable } from '../../src/workers/task-table.ts'
import { workerEntry } from '../../src/workers/worker-entry.ts'

const module = new URL('fixtures/handlers.mjs', import.meta.url).href
const at = { index: 0, offset: 0, line: 1, column: 1 }
let ids = 0

function prepare(spec: Partial<TaskSpec>) {
  const table = TaskTable.ofRows(2)
  const full: TaskSpec = {
    id: ids++,
    module,
    name: 'default',
    input: 'bytes',
    output: 'bytes',
    workerData: undefined,
    maxDepth: undefined,
    onInvalid: 'throw',
    transfer: false,
    table: table.memory,
    inSlots: undefined,
    inSlotSize: 0,
    outSlots: undefined,
    outSlotSize: 0,
    ...spec,
  }
  const message: TaskMessage = {
    specId: full.id,
    spec: full,
    row: 1,
    at,
    frames: undefined,
    layout: undefined,
    inSlot: -1,
    length: 0,
    outSlot: -1,
  }
  return { table, message }
}

async function run(spec: Partial<TaskSpec>, task: Partial<TaskMessage>) {
  const { table, message } = prepare(spec)
  const { reply, move } = await new TaskRunner(5).run({ ...message, ...task })
  t.equal(table.state(1), TASK_STATE.done)
  t.equal(table.thread(1), 5)
  return { reply: reply as TaskReply, move }
}

const recordsOf = ({ bytes }: TaskReply) => bytes && unpackRecords(Buffer.from(bytes))
const faultOf = ({ fault }: TaskReply) =>
  fault && { kind: fault.kind, error: unpackError(fault.error) as Error }

t.test('TaskRunner: bytes through slots equal bytes without, whatever the slots hold', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom('default', 'inScratch', 'overwriteInput', 'hash'),
      fc.nat(2),
      fc.nat(2),
      async (bytes, name, inSlot, outSlot) => {
        const inSlots = new SlotRing(3, 40)
        const outSlots = new SlotRing(3, 24)
        inSlots.view(inSlot).set(bytes)
        const spec = {
          name,
          inSlots: inSlots.memory,
          inSlotSize: 40,
          outSlots: outSlots.memory,
          outSlotSize: 24,
        }
        const { table, message } = prepare(spec)
        const through = await new TaskRunner(5).run({ ...message, inSlot, outSlot, length: bytes.length })
        const reply = through.reply as TaskReply
        const got = reply.bytes ?? outSlots.view(outSlot, reply.length)
        const expected =
          name === 'hash'
            ? Buffer.from(createHash('sha256').update(bytes).digest('hex') + '\n')
            : Buffer.from(bytes)
        if (Buffer.compare(Buffer.from(got), expected) !== 0) throw new Error(`${name}: got ${String(got)}`)
        // larger than the out-slot: an own copy, to be moved
        if ((reply.bytes !== undefined) !== expected.length > 24) throw new Error('wrong way')
        if (reply.bytes && through.move[0] !== reply.bytes.buffer) throw new Error('not moved')
        if (table.state(1) !== TASK_STATE.done) throw new Error('not done')
      },
    ),
    { numRuns: 200 },
  )
  t.pass('held')
})

t.test('TaskRunner: text is encoded as UTF-8, to the last byte of the slot and one past it', async (t) => {
  for (const text of ['ascii....', 'latin ÿ..', 'two € ', '\ud800 lone']) {
    const bytes = Buffer.from(text)
    for (const size of [bytes.length, bytes.length - 1]) {
      const outSlots = new SlotRing(1, size)
      const spec = {
        name: 'throwValue',
        workerData: { partial: text },
        outSlots: outSlots.memory,
        outSlotSize: size,
      }
      const { reply } = await run(spec, { bytes: Buffer.alloc(1), outSlot: 0 })
      t.equal(reply.length, size === bytes.length ? size : 0)
      t.same(reply.bytes ?? outSlots.view(0), bytes)
    }
  }
})

t.test('TaskRunner: no output, empty output, and Piscina.move()', async (t) => {
  t.match((await run({ name: 'nothing' }, { bytes: Buffer.alloc(1) })).reply, {
    length: 0,
    recordsOut: 0,
    bytes: undefined,
  })
  t.match((await run({}, { bytes: Buffer.alloc(0) })).reply, { length: 0, bytes: undefined })
  const view = await run({ name: 'moveView' }, { bytes: Buffer.alloc(1) })
  t.equal(Buffer.from(view.reply.bytes!).toString(), 'mmmmmmmm')
  t.equal(view.move[0], view.reply.bytes!.buffer)
  const slots = new SlotRing(1, 16)
  const inSlot = await run(
    { name: 'moveView', outSlots: slots.memory, outSlotSize: 16 },
    { bytes: Buffer.alloc(1), outSlot: 0 },
  )
  t.equal(inSlot.reply.length, 8)
  t.strictSame(inSlot.move, [])
  const records = await run({ name: 'moveRecords', input: 'records', output: 'records' }, { records: [1] })
  t.strictSame(recordsOf(records.reply), [new Uint8Array([1, 2, 3])])
  t.strictSame(records.move, [records.reply.bytes!.buffer])
  const owned = await run({ transfer: true }, { bytes: new Uint8Array(4) })
  t.equal(owned.move[0], owned.reply.bytes!.buffer)
})

t.test(
  'TaskRunner: JSON text is parsed and written here, its bad records named by their place',
  async (t) => {
    const lines = (text: string, spec: Partial<TaskSpec> = {}) =>
      run(
        { name: 'double', input: 'text', output: 'ndjson', ...spec },
        {
          bytes: Buffer.from(text),
          layout: 'lines',
          at: { index: 10, offset: 100, line: 11, column: 1 },
          frames: 3,
        },
      )
    const good = await lines('1\n2\n3\n')
    t.equal(String(good.reply.bytes), '2\n4\n6\n')
    t.match(good.reply, { recordsIn: 3, recordsOut: 3 })
    const bad = await lines('1\nx\n3\n')
    t.equal(String(bad.reply.bytes), '2\n')
    t.match(faultOf(bad.reply), {
      kind: 'input',
      error: { name: 'JsonError', index: 11, offset: 102, line: 12, column: 1 },
    })
    const skipped = await lines('1\nx\n3\n', { onInvalid: 'skip' })
    t.equal(String(skipped.reply.bytes), '2\n6\n')
    const reported = await lines('1\nx\n3\n', { onInvalid: 'report' })
    t.equal(String(reported.reply.bytes), '2\n6\n')
    t.match(reported.reply.reports, [{ index: 11, error: /record 11/ }])
    const deep = await lines('[[1]]\n', { maxDepth: 1 })
    t.match(faultOf(deep.reply), { error: { code: 'ERR_MILLRACE_JSON_DEPTH' } })
    const none = await lines('\n\n', { name: 'badReport' })
    t.match(none.reply, { length: 0, fault: undefined })
    const array = await run(
      { name: 'notJson', input: 'text', output: 'array' },
      { bytes: Buffer.from('4,5,6'), layout: 'array' },
    )
    t.equal(String(array.reply.bytes), '4')
    t.match(faultOf(array.reply), { kind: 'result', error: { code: 'ERR_MILLRACE_JSON_VALUE', index: 1 } })
  },
)

t.test('TaskRunner: whatever a handler does wrong is in the answer, with the output before it', async (t) => {
  const records = { records: [4, 5, 6] }
  const run5 = async (name: string, output: TaskSpec['output'] = 'records', workerData: unknown = 5) =>
    (await run({ name, input: 'records', output, workerData }, records)).reply
  t.match(faultOf(await run5('failAt')), {
    kind: 'handler',
    error: {
      message: 'short and stout',
      code: 'ERR_TEAPOT',
      status: 418,
      cause: { message: 'too hot', cause: 'fire' },
    },
  })
  t.strictSame(recordsOf(await run5('failAt')), [4])
  t.strictSame(recordsOf(await run5('generateThenThrow')), [4])
  t.match(faultOf(await run5('generateThenThrow')), {
    kind: 'handler',
    error: { message: 'after the first' },
  })
  t.match(faultOf(await run5('twiceThenThrow')), { kind: 'handler', error: { message: 'after one' } })
  t.strictSame(recordsOf(await run5('twiceThenThrow')), [4])
  t.match(faultOf(await run5('rejectLater')), { kind: 'handler', error: { message: 'later' } })
  t.strictSame(recordsOf(await run5('rejectLater')), [4, 5, 6])
  t.match(faultOf(await run5('notBytes', 'bytes')), {
    kind: 'result',
    error: { message: /Uint8Array.*got 42/ },
  })
  t.strictSame(recordsOf(await run5('unsendable')), [4])
  t.match(faultOf(await run5('unsendable')), { kind: 'result', error: { message: /could not be cloned/ } })
  t.match(faultOf(await run5('notRecords')), { kind: 'result', error: { message: /an iterable/ } })
  t.match(faultOf(await run5('badReport')), { kind: 'handler', error: { name: 'DataCloneError' } })
  t.match(faultOf(await run5('throwValue', 'records', null)), { kind: 'handler', error: null })
  t.strictSame(recordsOf(await run5('keepOdd')), [5])
  t.strictSame(recordsOf(await run5('twice')), [4, 4, 5, 5, 6, 6])
})

t.test('TaskRunner: a module or export that is not there is a fault of the worker, every time', async (t) => {
  const runner = new TaskRunner(1)
  for (const [spec, expected] of [
    [{ name: 'notAFunction' }, /no function as its export 'notAFunction', but 7/],
    [{ name: 'missing' }, /but undefined/],
    [{ module: new URL('fixtures/none.mjs', import.meta.url).href }, /Cannot find module/],
    [{ module: new URL('fixtures/throws.mjs', import.meta.url).href }, /broken module/],
  ] as const) {
    const { message } = prepare(spec)
    for (let i = 0; i < 2; i++) {
      const { reply } = await runner.run({ ...message, bytes: Buffer.alloc(1) })
      t.match(faultOf(reply as TaskReply), { kind: 'worker', error: { message: expected } })
    }
  }
})

t.test(
  'TaskRunner: asks for a stage that it does not know or has forgotten, and gives a moved input back',
  async (t) => {
    const runner = new TaskRunner(1)
    const first = prepare({})
    const { spec, ...known } = first.message
    const bytes = new Uint8Array([1])
    const asked = await runner.run({ ...known, bytes })
    t.strictSame(asked, { reply: { unknown: true, bytes }, move: [bytes.buffer] })
    t.strictSame(await runner.run(known), { reply: { unknown: true, bytes: undefined }, move: [] })
    t.equal(first.table.state(1), TASK_STATE.waiting)
    await runner.run({ ...known, spec: spec!, bytes })
    t.notMatch(await runner.run({ ...known, bytes }), { reply: { unknown: true } })
    for (let i = 0; i < 16; i++) await runner.run({ ...prepare({}).message, bytes })
    t.match(await runner.run(known), { reply: { unknown: true } })
  },
)

t.test('workerEntry: answers, and moves what is to be moved', async (t) => {
  const entry = workerEntry()
  const { message } = prepare({ transfer: true })
  t.match(await entry({ ...message, bytes: new Uint8Array(0) }), { length: 0 })
  const moved = (await entry({ ...message, bytes: new Uint8Array(3) })) as Record<symbol, unknown>
  t.match(moved[Symbol.for('Piscina.valueOf')], { bytes: new Uint8Array(3) })
  t.match(moved[Symbol.for('Piscina.transferable')], [ArrayBuffer])
})

t.test('TaskTable: a row tells state, thread and age to everybody who has the memory', (t) => {
  const table = TaskTable.ofRows(3)
  const other = new TaskTable(table.memory)
  t.equal(other.rows, 3)
  table.set(2, TASK_STATE.running, 9)
  t.equal(other.state(2), TASK_STATE.running)
  t.equal(other.thread(2), 9)
  t.ok(other.age(2) >= 0 && other.age(2) < 5000)
  t.equal(other.state(1), TASK_STATE.waiting)
  t.end()
})

t.test('SlotRing: hands out each slot once, the last one given first, and knows its own', (t) => {
  const ring = new SlotRing(2, 8)
  const [a, b] = [ring.take(), ring.take()]
  t.equal(ring.take(), -1)
  t.equal(ring.free, 0)
  ring.view(b).fill(1)
  t.same(ring.view(a), Buffer.alloc(8))
  t.equal(ring.slotOf(ring.view(b, 3)), b)
  t.equal(ring.slotOf(ring.view(b).subarray(1)), -1)
  t.equal(ring.slotOf(Buffer.alloc(8)), -1)
  ring.give(b)
  t.equal(ring.slotOf(ring.view(b)), -1)
  t.throws(() => ring.give(b), /free already/)
  t.equal(ring.take(), b)
  t.end()
})

t.test('packRecords: what comes out owns its memory, is aligned, and has the type that went in', (t) => {
  const floats = new Float64Array([1.5, -0])
  const inner = Buffer.from('a buffer')
  const view = new DataView(new Uint8Array([1, 2, 3, 4]).buffer, 1, 2)
  const { bytes } = packRecords(['odd', floats, inner, view, new Map([[floats, 5n]])])
  const slot = Buffer.concat([Buffer.alloc(3), bytes])
  const out = unpackRecords(slot.subarray(3)) as [
    string,
    Float64Array,
    Buffer,
    DataView,
    Map<Float64Array, bigint>,
  ]
  slot.fill(0xdb)
  t.strictSame(out[1], floats)
  t.equal(out[1].buffer.byteLength, 16)
  t.ok(Buffer.isBuffer(out[2]))
  t.equal(out[2].toString(), 'a buffer')
  t.equal(out[2].buffer.byteLength, 8)
  t.equal(out[3].getUint8(0), 2)
  t.equal(out[3].byteLength, 2)
  t.strictSame([...out[4].values()], [5n])
  t.equal([...out[4].keys()][0], out[1])
  t.end()
})
