/**
 * The seed of a test. It is fixed, so that each run does the same, unless the environment sets another
 * one, or `random` for a new one.
 * @throws Error when the environment has neither a number nor `random`
 */
export function seedFrom(text: string | undefined, fixed: number): number {
  if (text === undefined) return fixed;
  if (text === 'random') return Date.now() % 2 ** 31;
  const seed = Number(text);
  if (text !== '' && Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new Error(`the seed is "${text}": give a number, or "random"`);
}

/** Pseudo-random numbers that are determined by a seed, on every machine. */
export class Random {
  #state: number;

  /** @param seed any integer */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** The next 32 bits (the splitmix32 sequence). */
  uint32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return (bits ^ (bits >>> 15)) >>> 0;
  }

  /** An integer from 0 to `limit` - 1; `limit` is at least 1 and below 2^53. */
  below(limit: number): number {
    const high = this.uint32() & 0x1f_ffff;
    return (high * 2 ** 32 + this.uint32()) % limit;
  }

  /** An integer from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.uint32() < probability * 2 ** 32;
  }

  pick<T>(choices: readonly [T, ...T[]] | readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new Error('nothing to pick from');
    return choice;
  }

  /** One of the names, with a probability proportional to its weight. */
  weighted<Name extends string>(weights: Readonly<Record<Name, number>>): Name {
    const entries = Object.entries(weights) as [Name, number][];
    let rest = this.below(entries.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [name, weight] of entries) {
      if (rest < weight) return name;
      rest -= weight;
    }
    throw new Error('weights add up to nothing');
  }

  /** A separate generator, whose use does not affect the numbers of this one. */
  fork(): Random {
    return new Random(this.uint32());
  }
}
