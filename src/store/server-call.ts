import type { CallMetadata } from './grpc-headers.ts'

/** How a server ends a call. */
export interface CallEnd {
  readonly code: number
  readonly details: string
}

/** One call at the side of the server, whatever carries it. */
export interface ServerCall {
  /** Aborted when the client has gone, or its deadline is over. */
  readonly signal: AbortSignal
  /** What the client said in a header. */
  header(name: string): string | undefined
  /** Headers of the answer. Before any answer. */
  sendHeaders(metadata: CallMetadata): void
  /** Runs of messages, as they come. Throws what is wrong with a message in its place. */
  messages(): AsyncIterable<readonly Buffer[]>
  /** Sends answers; what it gives resolves when there is room for more. */
  write(answers: readonly Buffer[]): Promise<void> | void
  /** Ends it: well, unless told otherwise. */
  end(status?: CallEnd): void
}

/** Serves the calls of one method. Never rejects. */
export type ServeCall = (call: ServerCall) => Promise<void>

/** What is wrong with a message that a client sent. */
export class MessageFault extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

/** Options of what carries calls to a server. */
export interface CarrierOptions {
  readonly host: string
  readonly port: number
  readonly tls:
    | { readonly cert: Buffer; readonly key: Buffer; readonly clientCa: Buffer | undefined }
    | undefined
  readonly maxMessageLength: number
  readonly maxStreams: number
  readonly maxConnectionAge: number
  readonly maxConnectionAgeGrace: number
}

/** A server that listens. */
export interface Carrier {
  readonly port: number
  /** Takes no new calls, and ends those that are left after `grace` milliseconds. */
  stop(grace: number): Promise<void>
}
