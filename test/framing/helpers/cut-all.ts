import { FrameCutter, type CutBlock, type FrameCutterOptions } from '../../../src/framing/frame-cutter.ts'
import type { FrameScanner } from '../../../src/framing/frame-scanner.ts'

/** What a cutter gave for an input: blocks copied out of its memory, and the facts of the error that ended it. */
export interface Outcome {
  blocks: (Omit<CutBlock, 'bytes'> & { text: string })[]
  error?: Record<string, unknown>
}

export const factsOf = (error: unknown): Record<string, unknown> => {
  if (!(error instanceof Error)) throw new TypeError('not an error')
  return { ...(error as object), name: error.constructor.name, message: error.message }
}

/** Runs chunks through a cutter the way a stream would, and collects all that comes out. */
export function cutAll(
  scanner: FrameScanner,
  chunks: Iterable<Uint8Array>,
  options: Partial<FrameCutterOptions> = {},
): Outcome {
  const cutter = new FrameCutter(scanner, { blockSize: 16, maxFrameLength: 1000, ...options })
  const outcome: Outcome = { blocks: [] }
  const take = () => {
    for (let block = cutter.next(); block; block = cutter.next()) {
      const { bytes, ...position } = block
      outcome.blocks.push({ text: bytes.toString('latin1'), ...position })
    }
  }
  try {
    for (const chunk of chunks) {
      cutter.write(chunk)
      take()
    }
    cutter.end()
    take()
  } catch (error) {
    outcome.error = factsOf(error)
  }
  return outcome
}

export const textsOf = (outcome: Outcome): string[] => outcome.blocks.map((block) => block.text)
