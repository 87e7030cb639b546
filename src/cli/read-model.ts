import { buffer } from 'node:stream/consumers'
import { ModelError } from '../errors.ts'
import { Model } from '../records/model.ts'
import { Input } from './endpoint.ts'

/** The model of FILE, as `millrace fit` writes it. */
export async function readModel(file: string | undefined): Promise<Model> {
  const input = await Input.open(file)
  const text = (await buffer(input.content())).toString()
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (cause) {
    const message = `model: ${file ?? 'stdin'} is not JSON: ${(cause as Error).message}`
    throw new ModelError('ERR_MILLRACE_MODEL_FORMAT', message, { cause })
  }
  return Model.fromJSON(data)
}
