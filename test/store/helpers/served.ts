import { CircuitBreaker } from '../../../src/flow/index.ts'
import {
  GrpcStore,
  MemoryStore,
  StoreServer,
  type GrpcStoreOptions,
  type Store,
  type StoreServerOptions,
} from '../../../src/store/index.ts'
import { FaultProxy, type Faults } from './fault-proxy.ts'

/** Retries that do not make a test wait. */
export const quick: GrpcStoreOptions = {
  minDelay: 1,
  maxDelay: 20,
  retries: 60,
  breaker: new CircuitBreaker({ failures: 1_000_000 }),
}

export interface Served {
  readonly store: GrpcStore
  readonly memory: Store
  readonly server: StoreServer
  readonly proxy: FaultProxy
  readonly port: number
  stop(): Promise<void>
}

/** A store behind a server behind a proxy. */
export async function served({
  client = {},
  server: serverOptions = {},
  faults,
  memory = new MemoryStore(),
}: {
  readonly client?: GrpcStoreOptions
  readonly server?: StoreServerOptions
  readonly faults?: Faults
  readonly memory?: Store
} = {}): Promise<Served> {
  const server = new StoreServer(memory, serverOptions)
  const port = await server.start()
  const proxy = await new FaultProxy(() => port, faults).start()
  const store = new GrpcStore(`127.0.0.1:${proxy.port}`, { ...quick, ...client })
  return {
    store,
    memory,
    server,
    proxy,
    port,
    async stop() {
      await store.close()
      await proxy.stop()
      await server.stop({ grace: 50 })
    },
  }
}

/** The store alone, which takes its server with it when it is closed. */
export async function servedStore(options: Parameters<typeof served>[0] = {}): Promise<Store> {
  const all = await served(options)
  const { store } = all
  const close = store.close.bind(store)
  let stopped: Promise<void> | undefined
  store.close = () => {
    store.close = close
    stopped ??= all.stop()
    return stopped
  }
  return store
}
