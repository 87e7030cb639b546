import { loadPeer } from '../load-peer.ts'

/** The package, which only those need who use a server. */
export type Grpc = typeof import('@grpc/grpc-js')

/** @throws {@link MissingPeerError} when it is not installed. */
export function loadGrpc(load: () => Promise<Grpc> = () => import('@grpc/grpc-js')): Promise<Grpc> {
  return loadPeer('gRPC', ['@grpc/grpc-js'], load)
}

/** Paths of the service that are spoken. */
export const SERVICE = '/agntcy.dir.store.v1.StoreService'

/** Metadata by which a client says that it reads errors in-band, and a server that it tells them so. */
export const IN_BAND = 'millrace-results'

/** Messages are made and read elsewhere. */
export const asBytes = (bytes: Buffer): Buffer => bytes
