// grpc-js as its documentation shows it: proto-loader, and Struct as the objects that it makes.
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { fileURLToPath } from 'node:url'

const file = fileURLToPath(new URL('../store.proto', import.meta.url))
const loaded = /** @type {any} */ (grpc.loadPackageDefinition(loadSync(file)))
export const Client = loaded.agntcy.dir.store.v1.StoreService
export const { service } = Client
export { grpc }

/** @param {any} value @returns {any} */
function toValue(value) {
  if (value === null) return { nullValue: 0 }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } }
  return { structValue: toStruct(value) }
}

/** @param {object} record */
export function toStruct(record) {
  return { fields: Object.fromEntries(Object.entries(record).map(([key, value]) => [key, toValue(value)])) }
}

/** @param {any} value @returns {any} */
function fromValue(value) {
  if ('stringValue' in value) return value.stringValue
  if ('numberValue' in value) return value.numberValue
  if ('boolValue' in value) return value.boolValue
  if ('listValue' in value) return value.listValue.values.map(fromValue)
  if ('structValue' in value) return fromStruct(value.structValue)
  return null
}

/** @param {any} struct @returns {object} */
export function fromStruct(struct) {
  return Object.fromEntries(Object.entries(struct.fields).map(([key, value]) => [key, fromValue(value)]))
}
