import { Output } from './endpoint.ts'
import { isClosedOutput } from './run.ts'
import { isTopic, noRecords } from './topic.ts'

/** What {@link writeText} could not write to, told before the work is done. */
export function checkTextOutput(file: string | undefined): void {
  if (file !== undefined && isTopic(file)) throw noRecords(file)
}

/** Writes one text to where `-o` says, whole or not at all. A reader that has gone has had enough. */
export async function writeText(file: string | undefined, text: string): Promise<void> {
  const output = await Output.open(file, { size: Buffer.byteLength(text) })
  // told by finish()
  output.stream.on('error', () => {})
  output.stream.write(text)
  try {
    await output.finish(true)
  } catch (error) {
    if (isClosedOutput(error)) return
    throw error
  }
  await output.commit()
}
