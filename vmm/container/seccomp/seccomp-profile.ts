/**
 * Docker's JSON profiles of `--security-opt seccomp=FILE`: which system calls a container may use. They are
 * stored as they were checked, with the numbers of arguments as text, because they have up to 64 bits.
 */
import { TsvmError } from '../../errors.ts';

export const ACTIONS = [
  'SCMP_ACT_ALLOW',
  'SCMP_ACT_ERRNO',
  'SCMP_ACT_KILL',
  'SCMP_ACT_KILL_PROCESS',
  'SCMP_ACT_KILL_THREAD',
  'SCMP_ACT_LOG',
  'SCMP_ACT_TRACE',
  'SCMP_ACT_TRAP',
] as const;
export type SeccompAction = (typeof ACTIONS)[number];

export const OPERATORS = [
  'SCMP_CMP_EQ',
  'SCMP_CMP_GE',
  'SCMP_CMP_GT',
  'SCMP_CMP_LE',
  'SCMP_CMP_LT',
  'SCMP_CMP_MASKED_EQ',
  'SCMP_CMP_NE',
] as const;
export type SeccompOperator = (typeof OPERATORS)[number];

/** A condition on an argument of a call. */
export interface SeccompArgument {
  /** 0 to 5. */
  readonly index: number;
  readonly op: SeccompOperator;
  /** 64 bits, decimal; of `SCMP_CMP_MASKED_EQ` the mask. */
  readonly value: string;
  /** Of `SCMP_CMP_MASKED_EQ`: what the masked argument is compared with. */
  readonly valueTwo: string;
}

/** Where a rule applies: all that is given has to hold. */
export interface SeccompScope {
  readonly caps: readonly string[];
  /** Docker's names, such as `amd64`. */
  readonly arches: readonly string[];
  /** Of the kernel, such as `4.8`; empty: any. */
  readonly minKernel: string;
}

export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: SeccompAction;
  readonly errno?: number | undefined;
  /** All of them have to hold. */
  readonly args: readonly SeccompArgument[];
  readonly includes: SeccompScope;
  readonly excludes: SeccompScope;
}

export interface SeccompProfile {
  readonly defaultAction: SeccompAction;
  readonly defaultErrno?: number | undefined;
  readonly rules: readonly SeccompRule[];
}

const ERRNO_MAX = 4095;
const ARGUMENT_INDEX_MAX = 5;
const U64_MAX = 2n ** 64n - 1n;

function invalid(reason: string): never {
  throw new TsvmError('invalid-container', `Decoding seccomp profile failed: ${reason}`);
}

type Json = Readonly<Record<string, unknown>>;

function record(value: unknown, what: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  return invalid(`${what} is no object`);
}

function list(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : invalid(`${what} is no list`);
}

function texts(value: unknown, what: string): string[] {
  return list(value, what).map((each) =>
    typeof each === 'string' ? each : invalid(`${what} has something else than text`),
  );
}

function oneOf<T extends string>(values: readonly T[], value: unknown, what: string): T {
  const found = values.find((each) => each === value);
  return found ?? invalid(`${what} ${JSON.stringify(value)}: there are ${values.join(', ')}`);
}

function errno(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 0 && number <= ERRNO_MAX) return number;
  return invalid(`the error number ${String(value)}: give 0 to ${ERRNO_MAX}`);
}

function word(value: unknown): string {
  const text = String(value ?? 0);
  if (/^\d{1,20}$/.test(text) && BigInt(text) <= U64_MAX) return text;
  return invalid(`${text} is no number of 64 bits`);
}

function argument(value: unknown): SeccompArgument {
  const { index, op, value: operand, valueTwo } = record(value, 'an argument');
  const position = Number(index);
  if (!Number.isInteger(position) || position < 0 || position > ARGUMENT_INDEX_MAX) {
    invalid(`the argument ${String(index)}: give 0 to ${ARGUMENT_INDEX_MAX}`);
  }
  return {
    index: position,
    op: oneOf(OPERATORS, op, 'the operator'),
    value: word(operand),
    valueTwo: word(valueTwo),
  };
}

function scope(value: unknown): SeccompScope {
  const { arches, caps, minKernel } = record(value ?? {}, 'includes or excludes');
  const kernel = minKernel ?? '';
  if (typeof kernel !== 'string' || !/^(?:\d+\.\d+)?$/.test(kernel)) {
    invalid(`minKernel ${JSON.stringify(minKernel)}: give a version such as 4.8`);
  }
  return { arches: texts(arches, 'arches'), caps: texts(caps, 'caps'), minKernel: String(kernel) };
}

function rule(value: unknown): SeccompRule {
  const { action, args, errnoRet, excludes, includes, name, names } = record(value, 'a rule');
  return {
    names: [...texts(names, 'names'), ...(typeof name === 'string' && name !== '' ? [name] : [])],
    action: oneOf(ACTIONS, action, 'the action'),
    errno: errno(errnoRet),
    args: list(args, 'args').map(argument),
    includes: scope(includes),
    excludes: scope(excludes),
  };
}

/** Numbers keep their text: they may be larger than JavaScript's. */
function parseJson(text: string): unknown {
  try {
    const keep = (_: string, value: unknown, { source }: { source?: string }) =>
      typeof value === 'number' ? source : value;
    return JSON.parse(text, keep as Parameters<typeof JSON.parse>[1]);
  } catch (error) {
    return invalid((error as Error).message);
  }
}

/** @throws TsvmError `invalid-container` */
export function parseSeccompProfile(text: string): SeccompProfile {
  const profile = record(parseJson(text), 'the profile');
  return {
    defaultAction: oneOf(ACTIONS, profile['defaultAction'], 'the defaultAction'),
    defaultErrno: errno(profile['defaultErrnoRet']),
    rules: list(profile['syscalls'], 'syscalls').map(rule),
  };
}
