import { mix } from '../bytes/object-format.ts'

/** Characters that stand for classes in a shape: a capital, another letter, a digit. All else stands for itself. */
const CAPITAL = '\u{1}'
const LETTER = '\u{2}'
const DIGIT = '\u{3}'

/** The letters and digits that texts of a column are made of, each as often as it came, within bounds. */
export interface CharacterPool {
  readonly capitals: string
  readonly letters: string
  readonly digits: string
}

/** Characters of each class that are kept of a column. */
const MAX_POOL = 512

/** The form of a text without its content: which character is a capital, a letter, a digit. */
export function shapeOf(text: string): string {
  return text
    .replace(/\p{Lu}/gu, CAPITAL)
    .replace(/\p{L}/gu, LETTER)
    .replace(/\p{N}/gu, DIGIT)
}

/** Collects the characters of texts, evenly over all of them. */
export function poolOf(texts: readonly string[]): CharacterPool {
  const pick = (pattern: RegExp) => {
    const all: string[] = []
    const every = Math.max(1, Math.floor(texts.length / 200))
    for (let i = 0; i < texts.length; i += every) all.push(...(texts[i]!.match(pattern) ?? []))
    const step = Math.max(1, Math.floor(all.length / MAX_POOL))
    return all.filter((_, i) => i % step === 0).join('')
  }
  return { capitals: pick(/\p{Lu}/gu), letters: pick(/(?!\p{Lu})\p{L}/gu), digits: pick(/\p{N}/gu) }
}

/** Makes texts of given shapes. The letters follow from one random word. */
export class TextMaker {
  readonly #capitals: readonly string[]
  readonly #letters: readonly string[]
  readonly #digits: readonly string[]

  constructor({ capitals, letters, digits }: CharacterPool) {
    this.#capitals = Array.from(capitals)
    this.#letters = Array.from(letters)
    this.#digits = Array.from(digits)
  }

  make(shape: string, word: number): string {
    let text = ''
    let state = word
    for (const character of shape) {
      const pool =
        character === CAPITAL
          ? this.#capitals
          : character === LETTER
            ? this.#letters
            : character === DIGIT
              ? this.#digits
              : undefined
      if (pool === undefined) {
        text += character
        continue
      }
      state = (Math.imul(state, 0x2c1b3c6d) + 0x297a2d39) | 0
      text += pool[mix(state) % pool.length]!
    }
    return text
  }
}
