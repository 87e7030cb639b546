export { type RequestId } from './protocol.ts'
export { type SocketOptions } from './open-socket.ts'
export { WebSocketSink, type WebSocketSinkOptions } from './websocket-sink.ts'
export { WebSocketSource, type WebSocketSourceOptions } from './websocket-source.ts'
export {
  DEFAULT_MAX_PAYLOAD,
  DEFAULT_WEBSOCKET_PORT,
  WebSocketStreamingGenerator,
  type UpgradeSource,
  type WebSocketAddress,
  type WebSocketServerStats,
  type WebSocketStreamingGeneratorOptions,
} from './websocket-streaming-generator.ts'
