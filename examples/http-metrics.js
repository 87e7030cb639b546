// Figures of a Streamer for Prometheus (prom-client) and for OpenTelemetry. Hooks feed one, diagnostics channels the other: they are
// how a library that knows nothing of your code gets at the same figures.
//   node examples/http-metrics.js
import diagnostics from 'node:diagnostics_channel'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { Streamer } from 'millrace'
import prometheus from 'prom-client'

// Prometheus, by hooks
const chunkBytes = new prometheus.Histogram({
  name: 'stream_chunk_bytes',
  help: 'Bytes of a chunk',
  buckets: prometheus.exponentialBuckets(256, 4, 6),
})
const chunkLatency = new prometheus.Histogram({
  name: 'stream_chunk_latency_ms',
  help: 'Milliseconds since the chunk before',
  buckets: [1, 5, 25, 100, 500],
})
const records = new prometheus.Counter({ name: 'stream_records_total', help: 'Records sent' })
/** @type {Streamer<{ id: number }, object>} */
const streamer = new Streamer({
  chunkThreshold: 1024,
  onChunk({ bytes, records: count, latencyMs }) {
    chunkBytes.observe(bytes)
    chunkLatency.observe(latencyMs)
    records.inc(count)
  },
})
// what counts by itself is read when it is asked for
const responses = new prometheus.Gauge({
  name: 'stream_responses',
  help: 'Responses begun',
  collect() {
    this.set(streamer.stats().responses)
  },
})

// OpenTelemetry, by the channels of every stage in the process
const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
const provider = new MeterProvider({
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 })],
})
const sent = provider.getMeter('millrace').createCounter('millrace.records')
diagnostics.subscribe('millrace:chunk', (message) => {
  const { stage, records: count } = /** @type {import('millrace').ChunkInfo} */ (message)
  sent.add(count, { stage })
})

for (const count of [100, 300, 600]) {
  const rows = Array.from({ length: count }, (_, id) => ({ id }))
  await (await streamer.stream(rows).toResponse()).text()
}

console.log(`${(await responses.get()).values[0]?.value} responses`)
const text = await prometheus.register.metrics()
console.log(
  text
    .split('\n')
    .filter((line) => /^stream_(records|responses|chunk_bytes_bucket)/.test(line))
    .join('\n'),
)
await provider.forceFlush()
const point = exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics[0]?.dataPoints[0]
await provider.shutdown()
const { values } = await records.get()
if (point?.value === values[0]?.value) {
  console.log(
    `Prometheus and OpenTelemetry agree: ${streamer.stats().responses} responses, ${values[0]?.value} records`,
  )
}
