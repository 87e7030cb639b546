const TRANSFERABLE = Symbol.for('Piscina.transferable')
const VALUE = Symbol.for('Piscina.valueOf')

/** A value with the memory that is to be moved with it. */
interface Movable {
  readonly [TRANSFERABLE]: ArrayBuffer | ArrayBuffer[]
  readonly [VALUE]: unknown
}

/** Whether this is what `Piscina.move()` gives. */
export function isMovable(value: unknown): value is Movable {
  return typeof value === 'object' && value !== null && TRANSFERABLE in value && VALUE in value
}

/** What is in it, and what is to be moved. */
export function unwrap(movable: Movable): { readonly value: unknown; readonly move: ArrayBuffer[] } {
  return { value: movable[VALUE], move: [movable[TRANSFERABLE]].flat() }
}

/** Moving a view of a part would take the rest away from everybody else. */
export function ownsMemory(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength
}
