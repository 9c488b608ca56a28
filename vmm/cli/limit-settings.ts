import { InvalidArgumentError } from 'commander';
import type { RateLimits } from '../machine/rate-limits.ts';
import { parseSize } from '../util/size.ts';

/** Limits that were given. */
export type GivenLimits = { readonly [K in keyof RateLimits]?: number };

/**
 * The settings of `--disk` and `--net` that limit rates: `bps=` and `bps_max=` in bytes, and
 * `iops=`/`pps=` with its burst, as QEMU calls them.
 * @returns what a setting sets, by its name
 */
export function limitSettings(
  operations: 'iops' | 'pps',
): Readonly<Record<string, (text: string) => GivenLimits>> {
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

/** Limits as the command line writes them, such as `bps=10485760 iops=500`. */
export function limitText(operations: 'iops' | 'pps', limits: RateLimits): string {
  const { bytesPerSecond, burstBytes, operationsPerSecond, burstOperations } = limits;
  const parts = [
    ['bps', bytesPerSecond],
    ['bps_max', burstBytes],
    [operations, operationsPerSecond],
    [`${operations}_max`, burstOperations],
  ];
  return parts
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
