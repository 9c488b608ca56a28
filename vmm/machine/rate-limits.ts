import { checkFields, invalid, type Kind, NUMBER } from './config-fields.ts';

/** How much may pass on average and at once. What is left out has no limit. */
export interface RateLimits {
  readonly bytesPerSecond?: number | undefined;
  /** Bytes that may pass at once; a tenth of a second's if it is left out. */
  readonly burstBytes?: number | undefined;
  /** Requests of a disk, frames of a network in each direction. */
  readonly operationsPerSecond?: number | undefined;
  readonly burstOperations?: number | undefined;
}

const FIELDS: Readonly<Record<keyof RateLimits, Kind>> = {
  bytesPerSecond: NUMBER,
  burstBytes: NUMBER,
  operationsPerSecond: NUMBER,
  burstOperations: NUMBER,
};

/** @throws TsvmError `invalid-config` */
export function checkRateLimits(limits: RateLimits): void {
  checkFields('the rate limit', limits, FIELDS);
  for (const [name, value] of Object.entries(limits)) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1)) {
      invalid(`"${name}" of a rate limit is ${value}: give a whole number from 1 on`);
    }
  }
  const { bytesPerSecond, burstBytes, operationsPerSecond, burstOperations } = limits;
  if (burstBytes !== undefined && bytesPerSecond === undefined) {
    invalid('a rate limit has "burstBytes" (bps_max=) without "bytesPerSecond" (bps=): give both');
  }
  if (burstOperations !== undefined && operationsPerSecond === undefined) {
    invalid(
      'a rate limit has "burstOperations" (iops_max=, pps_max=) without "operationsPerSecond" (iops=, pps=): give both',
    );
  }
}
