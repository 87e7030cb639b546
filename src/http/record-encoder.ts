/**
 * A format in which records travel: give your own to a `Streamer` beside those of this room.
 *
 * @see {@link jsonEncoder}, {@link ndjsonEncoder}, {@link jsonSeqEncoder}, {@link csvEncoder}, {@link messagePackEncoder},
 * {@link protobufEncoder}
 */
export interface RecordEncoder<T = never> {
  /** The content type of the response, parameters included. */
  readonly contentType: string
  /** Other media types by which a client may ask for this format. */
  readonly aliases?: readonly string[]
  /** Begins the body of one response. */
  start(): RecordEncoding<T>
}

/** The encoding of one body: blocks of records, and what stands around and between them. */
export interface RecordEncoding<T = never> {
  /** What stands between two blocks. */
  readonly separator?: string
  /**
   * Gives the text or bytes of these records, without what stands around and between blocks. `index` is the number of the
   * first one. Throws for a record that the format cannot hold: then it is called again for each record by itself, so
   * that those before the bad one are sent. Called for every record, also for those that a buffer may drop later.
   */
  encode(records: readonly T[], index: number): string | Uint8Array
  /** What stands first; asked after the first `encode`, if there is any. */
  begin?(): string | Uint8Array
  /** What stands last, after this many records. */
  end?(records: number): string | Uint8Array
  /** A last word about an error, after which the connection is destroyed. */
  fail?(error: Error, records: number): string | Uint8Array
}

/** A run of whole records as they will be sent. */
export interface EncodedBlock {
  readonly data: string | Uint8Array
  readonly records: number
}

/** Length of a piece: bytes, or UTF-16 units of text, which are bytes as long as it is ASCII. */
export const sizeOf = (data: string | Uint8Array): number => data.length
