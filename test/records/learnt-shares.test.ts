import t from 'tap'
import { learntShares } from '../../src/records/learnt-shares.ts'
import { fit } from '../../src/records/index.ts'

const near = (a: number, b: number) => Math.abs(a - b) < 1e-9

/** Rows whose shares are known. */
const rows = Array.from({ length: 3000 }, (_, i) => ({
  kind: i % 10 < 6 ? 'mill' : i % 10 < 9 ? 'race' : null,
  size: i % 7,
  // follows from the size: the tree of one of them asks about the other
  class: i % 7 < 2 ? 'small' : 'large',
  weight: ((i * 7919) % 3000) / 100,
  day: new Date(Date.UTC(2020, 0, 1 + ((i * 31) % 2000))).toISOString().slice(0, 10),
  note: `${'abc'.repeat((i % 5) + 1)} ${(i * 7919) % 99_991} ${i}`,
  wheel: true,
  number: i + 1,
}))

t.test('learntShares: what a model has learnt of each column is what was in the rows', async (t) => {
  for (const method of ['bayes_net', 'gaussian_copula', 'cart'] as const) {
    const model = await fit(rows, { method })
    const [kind, size, grade, weight, day, note, wheel, number] = learntShares(model.toJSON())
    t.strictSame(kind?.bars?.values, ['mill', 'race'], method)
    t.ok(near(kind?.bars?.shares[0] ?? 0, 0.6) && near(kind?.nullShare ?? 0, 0.1))
    t.strictSame([size?.bins?.low, size?.bins?.width, size?.bins?.shares.length], [-0.5, 1, 7])
    for (const [value, share] of (size?.bins?.shares ?? []).entries())
      t.ok(near(share, rows.filter((row) => row.size === value).length / 3000))
    t.strictSame(grade?.bars?.values, ['large', 'small'])
    t.ok(near(grade?.bars?.shares[0] ?? 0, rows.filter((row) => row.class === 'large').length / 3000))
    t.strictSame(wheel?.bars, { values: [true], shares: [1] })
    // a range is known by its bins: what is in one of ours is right to a part of a bin of the model
    const { low, width, shares } = weight?.bins ?? { low: 0, width: 0, shares: [] }
    t.equal(shares.length, 32)
    t.ok(near(low, 0) && Math.abs(width * 32 - 29.99) < 1e-6)
    for (const [bin, share] of shares.entries()) {
      const from = low + bin * width
      const inside = rows.filter((row) => row.weight >= from && row.weight < from + width).length
      t.ok(Math.abs(share - inside / 3000) < 0.004, `${share} of ${inside / 3000}`)
    }
    t.ok(
      near(
        shares.reduce((sum, share) => sum + share, 0),
        1,
      ),
    )
    t.equal(day?.bins?.low, Date.UTC(2020, 0, 1))
    t.ok(near(day?.bins?.shares.reduce((sum, share) => sum + share, 0) ?? 0, 1))
    for (const column of [note, number]) t.strictSame([column?.bars, column?.bins], [undefined, undefined])
  }
})
