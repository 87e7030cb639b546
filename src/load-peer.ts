import { MissingPeerError, asError } from './errors.ts'

/**
 * Imports an optional peer dependency where it is needed.
 *
 * @param feature - What needs it, as the user knows it.
 * @param packages - What is to be installed; the first is the one that is loaded.
 * @throws {@link MissingPeerError} when it is not installed.
 */
export async function loadPeer<T>(
  feature: string,
  packages: readonly [string, ...string[]],
  load: () => Promise<T>,
): Promise<T> {
  try {
    return await load()
  } catch (error) {
    // by the message: module hooks of a test runner or bundler may lose the code
    const { message } = asError(error)
    const [name] = packages
    if (!/^Cannot find (package|module)/.test(message) || !message.includes(`'${name}'`)) throw error
    throw new MissingPeerError(
      'ERR_MILLRACE_MISSING_PEER',
      `${feature} needs the package ${name}, which is not installed: npm install ${packages.join(' ')}`,
      { expected: name, cause: error },
    )
  }
}
