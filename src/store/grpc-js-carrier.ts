import type { Metadata, ServerDuplexStream } from '@grpc/grpc-js'
import type { CallMetadata } from './grpc-headers.ts'
import { asBytes, loadGrpc, type Grpc } from './grpc-peer.ts'
import type { CallEnd, Carrier, CarrierOptions, ServeCall, ServerCall } from './server-call.ts'
import { STATUS } from './store-status.ts'

/** Messages that wait for the store before the connection is held back. */
const HELD_MESSAGES = 16

/** Listens for calls by grpc-js. */
export async function listenByGrpcJs(
  services: ReadonlyMap<string, ServeCall>,
  { host, port, tls, maxMessageLength, maxStreams, maxConnectionAge, maxConnectionAgeGrace }: CarrierOptions,
): Promise<Carrier> {
  const grpc = await loadGrpc()
  const server = new grpc.Server({
    'grpc.max_receive_message_length': maxMessageLength,
    'grpc.max_send_message_length': maxMessageLength,
    'grpc.max_concurrent_streams': maxStreams,
    ...(maxConnectionAge !== Infinity && {
      'grpc.max_connection_age_ms': maxConnectionAge,
      'grpc.max_connection_age_grace_ms': maxConnectionAgeGrace,
    }),
  })
  const entries = [...services]
  const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1)
  server.addService(
    // on the wire, a method with one answer is a method whose answers are one
    Object.fromEntries(
      entries.map(([path]) => [
        nameOf(path),
        {
          path,
          requestStream: true as const,
          responseStream: true as const,
          requestSerialize: asBytes,
          requestDeserialize: asBytes,
          responseSerialize: asBytes,
          responseDeserialize: asBytes,
        },
      ]),
    ),
    Object.fromEntries(
      entries.map(([path, serve]) => [
        nameOf(path),
        (call: ServerDuplexStream<Buffer, Buffer>) => void serve(new GrpcJsCall(call, grpc)),
      ]),
    ),
  )
  const credentials =
    tls === undefined
      ? grpc.ServerCredentials.createInsecure()
      : grpc.ServerCredentials.createSsl(
          tls.clientCa ?? null,
          [{ private_key: tls.key, cert_chain: tls.cert }],
          tls.clientCa !== undefined,
        )
  const address = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${address}:${port}`, credentials, (error, actual) =>
      error ? reject(error) : resolve(actual),
    )
  })
  return {
    port: bound,
    async stop(grace) {
      const timer = setTimeout(() => server.forceShutdown(), grace)
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()))
      clearTimeout(timer)
    },
  }
}

/** A call of grpc-js. */
class GrpcJsCall implements ServerCall {
  readonly #call: ServerDuplexStream<Buffer, Buffer>
  readonly #metadata: () => Metadata
  readonly #abort = new AbortController()

  constructor(call: ServerDuplexStream<Buffer, Buffer>, grpc: Grpc) {
    this.#call = call
    this.#metadata = () => new grpc.Metadata()
    call.on('cancelled', () => this.#abort.abort())
    call.on('error', () => this.#abort.abort())
  }

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  header(name: string): string | undefined {
    const [value] = this.#call.metadata.get(name)
    return typeof value === 'string' ? value : undefined
  }

  sendHeaders(headers: CallMetadata): void {
    const metadata = this.#metadata()
    for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
    this.#call.sendMetadata(metadata)
  }

  /** Node's own iterator would destroy the call at the end of its messages, with the answers still to come. */
  async *messages(): AsyncGenerator<readonly Buffer[], void, undefined> {
    const call = this.#call
    let held: Buffer[] = []
    let ended = false
    let wake = () => {}
    const onData = (message: Buffer) => {
      held.push(message)
      if (held.length >= HELD_MESSAGES) call.pause()
      wake()
    }
    const onEnd = () => {
      ended = true
      wake()
    }
    call.on('data', onData).on('end', onEnd).on('close', onEnd)
    try {
      for (;;) {
        if (held.length > 0) {
          const run = held
          held = []
          if (call.isPaused()) call.resume()
          yield run
        } else if (ended) return
        else await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      call.off('data', onData).off('end', onEnd).off('close', onEnd)
      // what still comes is of no use, and must not keep the call from ending
      call.resume()
    }
  }

  write(answers: readonly Buffer[]): Promise<void> | void {
    const call = this.#call
    for (const answer of answers) call.write(answer)
    if (!call.writableNeedDrain) return
    return new Promise((resolve) => {
      const done = () => {
        call.off('drain', done).off('close', done).off('cancelled', done)
        resolve()
      }
      call.on('drain', done).on('close', done).on('cancelled', done)
    })
  }

  end(status?: CallEnd): void {
    if (status === undefined || status.code === STATUS.OK) this.#call.end()
    else this.#call.emit('error', status)
  }
}
