/**
 * The runs of CI: sizes and seeds are fixed. The environment makes them longer or shorter, gives them
 * other seeds, or repeats one.
 */
import { seedFrom } from '../support/random.ts';
import type { CrashPlan } from './crashes.ts';
import type { FuzzPlan } from './fuzz.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const SEED = 1;
const OPERATIONS = 6000;
const OPERATIONS_PER_IMAGE = 25;
/** A bound for a busy machine; the number of cases ends the run. */
const FUZZ_SECONDS_MAX = 600;

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

/** Kills of whole machines. */
export function machineKillPlan(environment: Environment): KillNumbers {
  const kills = numberOf(environment, 'TSVM_QCOW2_MACHINE_KILLS') ?? 100;
  return { seed: seedOf(environment), kills };
}

/** For longer runs by hand there is run-fuzz.ts. */
export function fuzzPlan(environment: Environment): FuzzPlan & { readonly cases: number } {
  const cases = numberOf(environment, 'TSVM_QCOW2_FUZZ_CASES') ?? 4000;
  return { seed: seedOf(environment) * 100, seconds: FUZZ_SECONDS_MAX, cases };
}

function seedOf(environment: Environment): number {
  return seedFrom(environment['TSVM_QCOW2_SEED'], SEED);
}

function numberOf(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new Error(`${name} is "${text}", not a number`);
}
