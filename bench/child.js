// Runs one candidate once and prints { ms, rss, result }. See harness.js.
const [file = '', g = '0', name = '', input = '{}'] = process.argv.slice(2)
const { groups } = await import(file)
const candidate = groups[Number(g)].candidates.find((/** @type {{ name: string }} */ c) => c.name === name)
const prepared =
  candidate.prepare === undefined ? JSON.parse(input) : await candidate.prepare(JSON.parse(input))
// what it takes to load a package is measured by the benches of whole commands
await Promise.all((candidate.loads ?? []).map((/** @type {string} */ name) => import(name)))
const startedAt = performance.now()
const result = await candidate.run(prepared)
const ms = performance.now() - startedAt
// a candidate that measured another process, or something else than the whole run, says what it took
const rss = result?.peakRssBytes ?? process.resourceUsage().maxRSS * 1024
process.stdout.write(
  JSON.stringify({
    ms: result?.ms ?? ms,
    rss,
    result: result?.peakRssBytes === undefined && result?.ms === undefined ? (result ?? null) : null,
  }),
)
