/** Lines beyond this are only counted. */
const LINES_MAX = 1000;

/** The result of a check and a repair; the numbers are those of `qemu-img check`. */
export interface CheckResult {
  /** Clusters whose refcount is too high: only space is lost. */
  readonly leaks: number;
  readonly leaksFixed: number;
  /** All other errors; content is at risk. */
  readonly corruptions: number;
  readonly corruptionsFixed: number;
  /** What could not be checked. */
  readonly checkErrors: number;
  /** Guest clusters of the active state: all, and those that are allocated. */
  readonly totalClusters: number;
  readonly allocatedClusters: number;
  readonly compressedClusters: number;
  /** Allocated clusters that do not follow the one before them in the file. */
  readonly fragmentedClusters: number;
  /** End of the last cluster in use, in bytes. */
  readonly imageEndOffset: number;
  /** One readable line for each of the first thousand findings. */
  readonly problems: readonly string[];
}

/** True when nothing is wrong except lost space. */
export function isSound(result: CheckResult): boolean {
  return result.corruptions === 0 && result.checkErrors === 0;
}

/** Collects findings. A line may stand for several equal ones. */
export class CheckReport {
  leaks = 0;
  corruptions = 0;
  checkErrors = 0;
  allocatedClusters = 0;
  compressedClusters = 0;
  fragmentedClusters = 0;
  readonly #lines: string[] = [];
  #linesLeftOut = 0;

  corruption(line: string, times = 1): void {
    this.corruptions += times;
    this.#add(line);
  }

  leak(line: string): void {
    this.leaks++;
    this.#add(line);
  }

  checkError(line: string): void {
    this.checkErrors++;
    this.#add(line);
  }

  get problems(): string[] {
    const leftOut = this.#linesLeftOut > 0 ? [`…and ${this.#linesLeftOut} more`] : [];
    return [...this.#lines, ...leftOut];
  }

  #add(line: string): void {
    if (this.#lines.length < LINES_MAX) this.#lines.push(line);
    else this.#linesLeftOut++;
  }
}
