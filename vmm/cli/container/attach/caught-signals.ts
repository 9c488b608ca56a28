/** Docker passes on all but CHLD, PIPE and URG; Node cannot catch some of the others. */
const PROXIED: readonly NodeJS.Signals[] = [
  ...(['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const),
  ...(['SIGALRM', 'SIGCONT', 'SIGIO', 'SIGWINCH'] as const),
];

/**
 * Signals to this process, which is making or starting a container: the container gets them when it can, and
 * is not left half-made. Until somebody takes them, the second of a kind has its usual effect.
 */
export class CaughtSignals {
  readonly #early = new Set<NodeJS.Signals>();
  #take: ((signal: NodeJS.Signals) => void) | undefined;

  constructor() {
    for (const signal of PROXIED) process.on(signal, () => this.#caught(signal));
  }

  /** Takes those that have come, and all that come. */
  forward(take: (signal: NodeJS.Signals) => void): void {
    this.#take = take;
    for (const signal of this.#early) take(signal);
    this.#early.clear();
  }

  #caught(signal: NodeJS.Signals): void {
    if (this.#take !== undefined) {
      this.#take(signal);
    } else if (!this.#early.has(signal)) {
      this.#early.add(signal);
    } else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  }
}
