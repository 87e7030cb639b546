import type { CallOptions, Client, Metadata, StatusObject } from '@grpc/grpc-js'
import type { OpenCall } from './operation-lane.ts'
import type { CallStatus } from './store-status.ts'
import { asBytes } from './grpc-peer.ts'

/** What this side says of a call that no server has ended. */
const LOST =
  /RST_STREAM|Connection dropped|No connection established|Call cancelled|Stream removed|Cancelled on client|premature|goaway|ECONN|EPIPE|ETIMEDOUT/i

/** Tells the status of a server from one that was made up on this side. */
export function callStatusOf({ code, details }: Pick<StatusObject, 'code' | 'details'>): CallStatus {
  return { code, message: details === '' ? `status ${code}` : details, fromServer: !LOST.test(details) }
}

/**
 * A bidirectional method of a gRPC client in, what `operationStream` calls out. Messages and answers are bytes.
 *
 * @example
 * ```ts
 * import assert from 'node:assert/strict'
 * import { Client, Metadata, credentials } from '@grpc/grpc-js'
 * import { MemoryStore, StoreServer, canonicalJson, cidOf, grpcCall, operationStream } from 'millrace/store'
 *
 * const store = new MemoryStore()
 * await store.push({ a: 1 })
 * const server = new StoreServer(store)
 * const port = await server.start()
 * const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
 *
 * const cid = cidOf(canonicalJson({ a: 1 }))
 * const lookup = grpcCall(client, '/agntcy.dir.store.v1.StoreService/Lookup', () => new Metadata())
 * const lengths: unknown[] = []
 * const results = operationStream([cid, 'nothing'], lookup, {
 *   // RecordRef { string cid = 1 }
 *   encode: (text: string) => Buffer.concat([Buffer.from([0x0a, text.length]), Buffer.from(text)]),
 *   decode: (meta) => meta.length,
 * })
 * for await (const { output, error } of results) lengths.push(output ?? error?.code)
 * assert.deepEqual(lengths, [61, 'ERR_MILLRACE_STORE_INVALID'])
 *
 * client.close()
 * await server.stop()
 * ```
 */
export function grpcCall(
  client: Client,
  path: string,
  metadata: () => Metadata | Promise<Metadata>,
  options: () => CallOptions = () => ({}),
): OpenCall<Buffer, Buffer> {
  return async ({ onAnswer, onDrain, onEnd }) => {
    const call = client.makeBidiStreamRequest(path, asBytes, asBytes, await metadata(), options())
    call.on('data', onAnswer)
    call.on('drain', onDrain)
    call.on('status', (status: StatusObject) => onEnd(callStatusOf(status)))
    // the status says the same
    call.on('error', () => {})
    return {
      send: (message) => call.write(message),
      end: () => call.end(),
      cancel: () => call.cancel(),
    }
  }
}
