import { MissingPeerError, asError } from '../errors.ts'

/**
 * Imports an optional peer of this room.
 *
 * @throws {@link MissingPeerError} when it is not installed.
 */
export async function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (error) {
    // by the message: module hooks of a test runner or bundler may lose the code
    const { message } = asError(error)
    if (!/^Cannot find (package|module)/.test(message) || !message.includes(`'${name}'`)) throw error
    throw new MissingPeerError(
      'ERR_MILLRACE_MISSING_PEER',
      `MessagePack needs the package ${name}, which is not installed: npm install ${name}`,
      { expected: name, cause: error },
    )
  }
}
