/** One side of a comparison. */
export interface Contestant {
  readonly name: string;
  /** One measurement, in the benchmark's unit. */
  sample(): Promise<number>;
}

/** A value calculated from the medians, possibly with a promised limit. */
export interface Comparison {
  readonly of: string;
  /** If omitted, the value of `of` itself. */
  readonly against?: string;
  readonly as: 'ratio' | 'difference' | 'value';
  readonly atMost?: number;
  readonly atLeast?: number;
}

export interface Benchmark {
  readonly name: string;
  readonly unit: string;
  /** A sample takes half a minute: few samples are taken, without a warm-up. */
  readonly slow?: true;
  readonly contestants: readonly Contestant[];
  readonly comparisons: readonly Comparison[];
}

export interface ContestantResult {
  readonly name: string;
  readonly samples: readonly number[];
  readonly median: number | undefined;
  /** Why there are no samples, or no further ones. */
  readonly failure: string | undefined;
}

export interface ComparisonResult extends Comparison {
  readonly value: number | undefined;
  /** Undefined if there is no promise, or if nothing could be measured. */
  readonly met: boolean | undefined;
}

export interface BenchmarkResult {
  readonly name: string;
  readonly unit: string;
  readonly contestants: readonly ContestantResult[];
  readonly comparisons: readonly ComparisonResult[];
}

export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const low = sorted[Math.floor((sorted.length - 1) / 2)];
  const high = sorted[Math.ceil((sorted.length - 1) / 2)];
  return low === undefined || high === undefined ? undefined : (low + high) / 2;
}

function compare(
  comparison: Comparison,
  medians: ReadonlyMap<string, number | undefined>,
): ComparisonResult {
  const of = medians.get(comparison.of);
  const against = comparison.against === undefined ? undefined : medians.get(comparison.against);
  let value: number | undefined;
  if (comparison.as === 'value') value = of;
  else if (of !== undefined && against !== undefined) {
    value = comparison.as === 'ratio' ? of / against : of - against;
  }
  const { atMost, atLeast } = comparison;
  const promised = atMost !== undefined || atLeast !== undefined;
  const met =
    promised && value !== undefined
      ? value <= (atMost ?? Number.POSITIVE_INFINITY) &&
        value >= (atLeast ?? Number.NEGATIVE_INFINITY)
      : undefined;
  return { ...comparison, value, met };
}

const SLOW_REPETITIONS_MAX = 3;

/**
 * Measures the contestants in turn, repeatedly, so that other load on the machine affects all of them
 * alike. The first round warms up caches and does not count, unless the benchmark is slow. A contestant
 * that fails is dropped; the others continue.
 */
export async function runBenchmark(
  benchmark: Benchmark,
  repetitions: number,
): Promise<BenchmarkResult> {
  const samples = new Map<string, number[]>();
  const failures = new Map<string, string>();
  const warmUps = benchmark.slow ? 0 : 1;
  const counted = benchmark.slow ? Math.min(repetitions, SLOW_REPETITIONS_MAX) : repetitions;
  for (let round = 0; round < warmUps + counted; round++) {
    for (const contestant of benchmark.contestants) {
      if (failures.has(contestant.name)) continue;
      try {
        const value = await contestant.sample();
        const own = samples.get(contestant.name) ?? [];
        if (round >= warmUps) own.push(value);
        samples.set(contestant.name, own);
      } catch (error) {
        failures.set(contestant.name, error instanceof Error ? error.message : String(error));
      }
    }
  }
  const contestants = benchmark.contestants.map(({ name }) => {
    const own = samples.get(name) ?? [];
    return { name, samples: own, median: median(own), failure: failures.get(name) };
  });
  const medians = new Map(contestants.map((result) => [result.name, result.median]));
  return {
    name: benchmark.name,
    unit: benchmark.unit,
    contestants,
    comparisons: benchmark.comparisons.map((comparison) => compare(comparison, medians)),
  };
}
