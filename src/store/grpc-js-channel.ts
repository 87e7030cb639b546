import type { ChannelCredentials, Client } from '@grpc/grpc-js'
import { grpcCall } from './grpc-call.ts'
import {
  DEFAULT_KEEPALIVE,
  pem,
  type ChannelCallOptions,
  type ClientTls,
  type GrpcChannelOptions,
} from './grpc-channel.ts'
import { KEEPALIVE_TIMEOUT } from './grpc-connection.ts'
import { loadGrpc, type Grpc } from './grpc-peer.ts'
import { DEFAULT_MAX_MESSAGE_LENGTH } from './messages.ts'
import type { OpenCall } from './operation-lane.ts'

/** What `GrpcChannel` does, by grpc-js: for its names (`dns:`, `xds:`), its balancing of load, and its proxies. */
export class GrpcJsChannel {
  readonly #address: string
  readonly #options: GrpcChannelOptions
  #connection: Promise<{ readonly grpc: Grpc; readonly client: Client }> | undefined

  constructor(address: string, options: GrpcChannelOptions) {
    this.#address = address
    this.#options = options
  }

  call(path: string, { metadata, timeout }: ChannelCallOptions): OpenCall<Buffer, Buffer> {
    return async (events) => {
      this.#connection ??= this.#connect()
      const { grpc, client } = await this.#connection
      const headers = new grpc.Metadata()
      for (const [name, value] of Object.entries((await metadata?.()) ?? {})) headers.set(name, value)
      const deadline = () => (timeout === undefined ? {} : { deadline: Date.now() + timeout })
      return grpcCall(client, path, () => headers, deadline)(events)
    }
  }

  async close(): Promise<void> {
    if (this.#connection !== undefined) (await this.#connection).client.close()
  }

  async #connect(): Promise<{ readonly grpc: Grpc; readonly client: Client }> {
    const grpc = await loadGrpc()
    const {
      keepalive = DEFAULT_KEEPALIVE,
      compression,
      tls,
      maxMessageLength = DEFAULT_MAX_MESSAGE_LENGTH,
    } = this.#options
    const serverName = typeof tls === 'object' ? tls.serverName : undefined
    const client = new grpc.Client(this.#address, credentialsOf(grpc, tls), {
      'grpc.max_send_message_length': maxMessageLength,
      'grpc.max_receive_message_length': maxMessageLength,
      // the retries are ours: those of the channel would buffer messages, and know nothing of answers
      'grpc.enable_retries': 0,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 5000,
      ...(keepalive !== Infinity && {
        'grpc.keepalive_time_ms': keepalive,
        'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT,
      }),
      ...(compression === 'gzip' && {
        'grpc.default_compression_algorithm': grpc.compressionAlgorithms.gzip,
      }),
      ...(serverName !== undefined && {
        'grpc.ssl_target_name_override': serverName,
        'grpc.default_authority': serverName,
      }),
    })
    return { grpc, client }
  }
}

function credentialsOf(grpc: Grpc, tls: boolean | ClientTls | undefined): ChannelCredentials {
  if (tls === undefined || tls === false) return grpc.credentials.createInsecure()
  const { ca, cert, key } = tls === true ? ({} as ClientTls) : tls
  const buffer = (text: Uint8Array | string | undefined) => (text === undefined ? null : pem(text))
  return grpc.credentials.createSsl(buffer(ca), buffer(key), buffer(cert))
}
