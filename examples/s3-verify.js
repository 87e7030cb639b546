// A set of objects on S3, written, read back and verified, four at a time; then one of them is damaged and found out.
//   node examples/s3-verify.js
// The store is that of AWS_ENDPOINT_URL_S3 and the bucket that of BUCKET, with credentials as the AWS tools take them. Without
// an endpoint, a small S3 server is started on loopback for the time of the run.
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { DataGenerator, VerifyError, mapOrdered, pumpObject, verify } from 'millrace'
import { ObjectSource, ObjectWriter } from 'millrace/s3'

// the SDK warns those who run it on an older Node
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'

const COUNT = 8
const SIZE = 6_000_000
const bucket = process.env['BUCKET'] ?? 'bench'
const server = process.env['AWS_ENDPOINT_URL_S3'] === undefined ? await startServer() : undefined
const connection = server?.connection ?? {}

const generator = new DataGenerator({ seed: 42 })
const objects = Array.from({ length: COUNT }, (_, n) =>
  generator.beginObject({ key: `example/${n}`, size: SIZE, dedup: 2, compress: 1.5 }),
)
/** @param {{ key: string }} object */
const address = ({ key }) => ({ bucket, key })

try {
  const written = mapOrdered(
    objects,
    async (object) => {
      const writer = new ObjectWriter(address(object), { ...connection, size: object.size })
      await pumpObject(object, writer)
      return `${writer.url}, ${writer.bytesWritten} bytes, CRC-32 ${writer.checksum}`
    },
    { concurrency: 4 },
  )
  for await (const line of written) console.log(`wrote ${line}`)

  let verified = 0
  const reports = mapOrdered(
    objects,
    // `others`: should one object stand in the place of another, the error names it
    (object) => verify(new ObjectSource(address(object), connection), object, { others: objects }),
    { concurrency: 4 },
  )
  for await (const { ok } of reports) if (ok) verified++

  // a store that gives the bytes of object 5 for those of object 3
  const [three, five] = [objects[3], objects[5]]
  if (!three || !five) throw new Error('no such objects')
  await pipeline(five.stream(), new ObjectWriter(address(three), { ...connection, size: SIZE }))
  try {
    await verify(new ObjectSource(address(three), connection), three, { others: objects })
  } catch (error) {
    if (!(error instanceof VerifyError)) throw error
    console.log(`${three.key}: ${error.message}`)
    console.log(`${verified} of ${COUNT} objects verified, 1 mix-up found`)
  }
} finally {
  server?.stop()
}

async function startServer() {
  // @ts-expect-error -- it has no types
  const { default: S3rver } = await import('s3rver')
  const directory = mkdtempSync(join(tmpdir(), 's3-verify-'))
  const app = new S3rver({
    directory,
    silent: true,
    vhostBuckets: false,
    configureBuckets: [{ name: bucket }],
  })
  await app.configureBuckets()
  const server = createServer(app.callback()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    connection: {
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
    },
    stop() {
      server.close()
      server.closeAllConnections()
      rmSync(directory, { recursive: true })
    },
  }
}
