import type { Logger } from '../observability/logger.ts';

/** A person has waited so long, and seen nothing. */
const FIRST_MS = 1500;
const NEXT_MS = 60_000;

/** Tells whoever waits for a guest's first words that something is going on. */
export class SignOfLife {
  readonly #logger: Logger;
  readonly #startMs = process.uptime() * 1000;
  #what: () => string;
  #timer: NodeJS.Timeout | undefined;

  /** @param what what is going on now: the beginning of a sentence */
  constructor(logger: Logger, what: () => string) {
    this.#logger = logger;
    this.#what = what;
    this.#wait(FIRST_MS);
  }

  /** Something else is going on from now on. */
  turnTo(what: () => string): void {
    this.#what = what;
  }

  /** The guest has written something, or is over. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(ms: number): void {
    this.#timer = setTimeout(() => {
      const seconds = Math.round(process.uptime() - this.#startMs / 1000);
      this.#logger.info(seconds < 10 ? this.#what() : `${this.#what()}, for ${seconds} s now`);
      this.#wait(NEXT_MS);
    }, ms);
    this.#timer.unref();
  }
}
