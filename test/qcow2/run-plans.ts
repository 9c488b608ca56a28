/** What runs in CI are; the environment makes them longer or shorter, or repeats one. */
import type { CrashPlan } from './crashes.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const OPERATIONS = 6000;
const OPERATIONS_PER_IMAGE = 25;

export interface OracleNumbers {
  readonly seed: number;
  readonly images: number;
  readonly operations: number;
  readonly first: number | undefined;
  readonly only: number | undefined;
}

export function oraclePlan(environment: Environment): OracleNumbers {
  const operations = numberOf(environment, 'TSVM_QCOW2_OPERATIONS') ?? OPERATIONS;
  const images = numberOf(environment, 'TSVM_QCOW2_IMAGES');
  return {
    seed: seedOf(environment),
    images: images ?? Math.ceil(operations / OPERATIONS_PER_IMAGE),
    operations,
    first: numberOf(environment, 'TSVM_QCOW2_FIRST'),
    only: numberOf(environment, 'TSVM_QCOW2_ONLY'),
  };
}

export function crashPlan(environment: Environment): CrashPlan {
  const streams = numberOf(environment, 'TSVM_QCOW2_CRASH_STREAMS') ?? 30;
  return {
    seed: seedOf(environment),
    streams,
    operations: 30,
    losses: 4,
    judged: Math.min(10 * streams, 300),
    only: numberOf(environment, 'TSVM_QCOW2_ONLY'),
  };
}

export interface KillNumbers {
  readonly seed: number;
  readonly kills: number;
}

export function killPlan(environment: Environment): KillNumbers {
  return { seed: seedOf(environment), kills: numberOf(environment, 'TSVM_QCOW2_KILLS') ?? 100 };
}

/** Beside those, of whole machines. */
export function machineKillPlan(environment: Environment): KillNumbers {
  const kills = numberOf(environment, 'TSVM_QCOW2_MACHINE_KILLS') ?? 100;
  return { seed: seedOf(environment), kills };
}

/** For a longer run by hand there is run-fuzz.ts. */
export function fuzzPlan(environment: Environment): {
  readonly seed: number;
  readonly seconds: number;
} {
  const seconds = numberOf(environment, 'TSVM_QCOW2_FUZZ_SECONDS') ?? 20;
  return { seed: seedOf(environment) * 100, seconds };
}

function seedOf(environment: Environment): number {
  return numberOf(environment, 'TSVM_QCOW2_SEED') ?? Date.now() % 2 ** 32;
}

function numberOf(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`${name} is "${text}", not a number`);
}
