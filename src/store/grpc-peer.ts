import { MissingPeerError, asError } from '../errors.ts'

/** The package, which only those need who use a server. */
export type Grpc = typeof import('@grpc/grpc-js')

/** @throws {@link MissingPeerError} when it is not installed. */
export async function loadGrpc(load: () => Promise<Grpc> = () => import('@grpc/grpc-js')): Promise<Grpc> {
  try {
    return await load()
  } catch (error) {
    // by the message: module hooks of a test runner or bundler may lose the code
    const { message } = asError(error)
    if (!/^Cannot find (package|module)/.test(message) || !message.includes("'@grpc/grpc-js'")) throw error
    throw new MissingPeerError(
      'ERR_MILLRACE_MISSING_PEER',
      'gRPC needs the package @grpc/grpc-js, which is not installed: npm install @grpc/grpc-js',
      { expected: '@grpc/grpc-js', cause: error },
    )
  }
}

/** Paths of the service that are spoken. */
export const SERVICE = '/agntcy.dir.store.v1.StoreService'

/** Metadata by which a client says that it reads errors in-band, and a server that it tells them so. */
export const IN_BAND = 'millrace-results'

/** Messages are made and read elsewhere. */
export const asBytes = (bytes: Buffer): Buffer => bytes
