import type { Logger } from '../observability/logger.ts';

/** Time without output until the first message. */
const FIRST_MS = 1500;
const NEXT_MS = 60_000;

/** Logs what is going on while the user waits for the guest's first output. */
export class SignOfLife {
  readonly #logger: Logger;
  readonly #startMs = process.uptime() * 1000;
  #what: () => string;
  #timer: NodeJS.Timeout | undefined;

  /** @param what the current activity, as the beginning of a sentence */
  constructor(logger: Logger, what: () => string) {
    this.#logger = logger;
    this.#what = what;
    this.#wait(FIRST_MS);
  }

  /** Sets the current activity. */
  turnTo(what: () => string): void {
    this.#what = what;
  }

  /** Call when the guest has written something or has ended. */
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
