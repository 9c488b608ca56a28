import type { BenchmarkResult, ComparisonResult, ContestantResult } from './benchmark.ts';

function figure(value: number | undefined): string {
  if (value === undefined) return '-';
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

function contestantLine(result: ContestantResult, unit: string): string {
  const name = `  ${result.name}`.padEnd(28);
  if (result.failure !== undefined) return `${name} ${result.failure.split('\n')[0]}`;
  const spread = `${figure(Math.min(...result.samples))} .. ${figure(Math.max(...result.samples))}`;
  return `${name}${figure(result.median).padStart(10)} ${unit.padEnd(6)} (${spread})`;
}

function limit(comparison: ComparisonResult, unit: string): string {
  if (comparison.atMost !== undefined) return `at most ${comparison.atMost}${unit}`;
  if (comparison.atLeast !== undefined) return `at least ${comparison.atLeast}${unit}`;
  return '';
}

function comparisonLine(comparison: ComparisonResult, benchmarkUnit: string): string {
  const sign = { ratio: ' / ', difference: ' - ', value: '' }[comparison.as];
  const what = `  ${comparison.of}${sign}${comparison.against ?? ''}`;
  const unit = comparison.as === 'ratio' ? '' : ` ${benchmarkUnit}`;
  const verdict = { true: 'met', false: 'MISSED', undefined: '' }[`${comparison.met}`];
  return `${what.padEnd(28)}${figure(comparison.value).padStart(10)}${unit}  ${[limit(comparison, unit), verdict].filter((part) => part !== '').join(': ')}`;
}

/** The result of one benchmark as lines of text. */
export function reportText(result: BenchmarkResult): string {
  return [
    result.name,
    ...result.contestants.map((contestant) => contestantLine(contestant, result.unit)),
    ...result.comparisons.map((comparison) => comparisonLine(comparison, result.unit)),
    '',
  ]
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Whether a promise was measured and not kept. */
export function promiseMissed(results: readonly BenchmarkResult[]): boolean {
  return results.some(({ comparisons }) => comparisons.some(({ met }) => met === false));
}
