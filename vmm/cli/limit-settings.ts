import { InvalidArgumentError } from 'commander';
import type { RateLimits } from '../machine/rate-limits.ts';
import { parseSize } from '../util/size.ts';

/**
 * The settings of `--disk` and `--net` that limit rates: `bps=` and `bps_max=` in bytes, and
 * `iops=`/`pps=` with its burst, as QEMU calls them.
 * @returns what a setting sets, by its name
 */
export function limitSettings(
  operations: 'iops' | 'pps',
): Readonly<Record<string, (text: string) => RateLimits>> {
  const names: readonly (readonly [string, keyof RateLimits])[] = [
    ['bps', 'bytesPerSecond'],
    ['bps_max', 'burstBytes'],
    [operations, 'operationsPerSecond'],
    [`${operations}_max`, 'burstOperations'],
  ];
  return Object.fromEntries(
    names.map(([name, field]) => [name, (text: string) => ({ [field]: parseAmount(name, text) })]),
  );
}

function parseAmount(name: string, text: string): number {
  const amount = parseSize(text, 1);
  if (amount === undefined || amount < 1) {
    throw new InvalidArgumentError(`'${name}=${text}': use a number such as 1000 or 10M.`);
  }
  return amount;
}
