/**
 * A seccomp profile as a program for seccomp(2), in classic BPF: an array of `struct sock_filter`
 * (linux/filter.h), which looks at a `struct seccomp_data` (linux/seccomp.h). It decides as libseccomp's.
 */
import type {
  SeccompAction,
  SeccompArgument,
  SeccompProfile,
  SeccompRule,
  SeccompScope,
} from './seccomp-profile.ts';
import { SYSTEM_CALLS } from './system-calls.ts';

/** What rules depend on. */
export interface SeccompTarget {
  /** Names of the process's capabilities: `CAP_CHOWN`, ... */
  readonly capabilities: ReadonlySet<string>;
  /** Major and minor number of the kernel's version. */
  readonly kernel: readonly [number, number];
}

/** A jump's distance may be `fail`: to the end of the rule. */
type Distance = number | 'fail';

interface Instruction {
  readonly code: number;
  readonly value: number;
  readonly ifTrue?: Distance;
  readonly ifFalse?: Distance;
}

const CODE = { load: 0x20, and: 0x54, jump: 0x05, jeq: 0x15, jgt: 0x25, jge: 0x35, ret: 0x06 };
const INSTRUCTION_BYTES = 8;
/** In `struct seccomp_data`. */
const NUMBER_OFFSET = 0;
const ARCHITECTURE_OFFSET = 4;
const ARGUMENTS_OFFSET = 16;
const AUDIT_ARCH_X86_64 = 0xc000003e;
const ARCHITECTURE = 'amd64';
const RETURN_ERRNO = 0x00050000;
const EPERM = 1;
const ENOSYS = 38;
const RETURNS: Readonly<Record<Exclude<SeccompAction, 'SCMP_ACT_ERRNO'>, number>> = {
  SCMP_ACT_ALLOW: 0x7fff0000,
  SCMP_ACT_KILL: 0,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_TRAP: 0x00030000,
};

const load = (offset: number): Instruction => ({ code: CODE.load, value: offset });
const and = (value: number): Instruction => ({ code: CODE.and, value });
const ret = (value: number): Instruction => ({ code: CODE.ret, value });
const test = (
  code: 'jeq' | 'jgt' | 'jge',
  value: number,
  ifTrue: Distance,
  ifFalse: Distance,
): Instruction => ({ code: CODE[code], value, ifTrue, ifFalse });

function returnOf(action: SeccompAction, errno: number = EPERM): Instruction {
  return ret(action === 'SCMP_ACT_ERRNO' ? RETURN_ERRNO | errno : RETURNS[action]);
}

/** A comparison of 64 bits by halves: goes on after its end if it holds, else to `fail`. */
function condition({ index, op, value, valueTwo }: SeccompArgument): Instruction[] {
  const low = load(ARGUMENTS_OFFSET + 8 * index);
  const high = load(ARGUMENTS_OFFSET + 8 * index + 4);
  const [lowValue, highValue] = halves(value);
  switch (op) {
    case 'SCMP_CMP_EQ':
      return [high, test('jeq', highValue, 0, 'fail'), low, test('jeq', lowValue, 0, 'fail')];
    case 'SCMP_CMP_NE':
      return [high, test('jeq', highValue, 0, 2), low, test('jeq', lowValue, 'fail', 0)];
    case 'SCMP_CMP_MASKED_EQ': {
      const [lowWanted, highWanted] = halves(valueTwo);
      return [
        ...[high, and(highValue), test('jeq', highWanted, 0, 'fail')],
        ...[low, and(lowValue), test('jeq', lowWanted, 0, 'fail')],
      ];
    }
    case 'SCMP_CMP_GT':
    case 'SCMP_CMP_GE': {
      const last = op === 'SCMP_CMP_GT' ? 'jgt' : 'jge';
      return [
        ...[high, test('jgt', highValue, 3, 0), test('jeq', highValue, 0, 'fail')],
        ...[low, test(last, lowValue, 0, 'fail')],
      ];
    }
    case 'SCMP_CMP_LT':
    case 'SCMP_CMP_LE': {
      const last = op === 'SCMP_CMP_LT' ? 'jge' : 'jgt';
      return [
        ...[high, test('jgt', highValue, 'fail', 0), test('jeq', highValue, 0, 2)],
        ...[low, test(last, lowValue, 'fail', 0)],
      ];
    }
  }
}

function halves(text: string): [low: number, high: number] {
  const value = BigInt(text);
  return [Number(value & 0xffff_ffffn), Number(value >> 32n)];
}

/** Returns the action if all conditions hold, and goes on after its end otherwise. */
function guarded(args: readonly SeccompArgument[], action: Instruction): Instruction[] {
  const code = [...args.flatMap(condition), action];
  const distance = (at: number, to: Distance | undefined) =>
    to === 'fail' ? code.length - at - 1 : (to ?? 0);
  return code.map(({ ifFalse, ifTrue, ...instruction }, at) => ({
    ...instruction,
    ifTrue: distance(at, ifTrue),
    ifFalse: distance(at, ifFalse),
  }));
}

function isOlder([major, minor]: readonly [number, number], version: string): boolean {
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

function applies({ excludes, includes }: SeccompRule, target: SeccompTarget): boolean {
  const has = (name: string) => target.capabilities.has(name);
  const excluded =
    excludes.arches.includes(ARCHITECTURE) ||
    excludes.caps.some(has) ||
    (excludes.minKernel !== '' && !isOlder(target.kernel, excludes.minKernel));
  return !excluded && isIncluded(includes, target);
}

function isIncluded({ arches, caps, minKernel }: SeccompScope, target: SeccompTarget): boolean {
  if (arches.length > 0 && !arches.includes(ARCHITECTURE)) return false;
  if (minKernel !== '' && isOlder(target.kernel, minKernel)) return false;
  return caps.every((name) => target.capabilities.has(name));
}

/** Conditions on one argument are alternatives, as runc has them; on several, all have to hold. */
function alternatives(args: readonly SeccompArgument[]): (readonly SeccompArgument[])[] {
  const isRepeated = new Set(args.map(({ index }) => index)).size < args.length;
  return isRepeated ? args.map((each) => [each]) : [args];
}

/** What happens to a call with these rules. A rule without conditions decides alone. */
function verdict(rules: readonly SeccompRule[], otherwise: Instruction): Instruction[] {
  const always = rules.find(({ args }) => args.length === 0);
  if (always !== undefined) return [returnOf(always.action, always.errno)];
  const checks = rules.flatMap(({ action, args, errno }) =>
    alternatives(args).flatMap((each) => guarded(each, returnOf(action, errno))),
  );
  return [...checks, otherwise];
}

/** Calls with the same verdict, from `first` to the next range's first. */
interface Range {
  readonly first: number;
  readonly code: readonly Instruction[];
}

/** A search tree: the call's number is loaded. Far sides of branches are reached by long jumps. */
function search(ranges: readonly Range[]): readonly Instruction[] {
  const half = ranges.length >> 1;
  const middle = ranges[half];
  if (middle === undefined) return [];
  if (half === 0) return middle.code;
  const left = search(ranges.slice(0, half));
  const jump: Instruction = { code: CODE.jump, value: left.length };
  return [test('jge', middle.first, 0, 1), jump, ...left, ...search(ranges.slice(half))];
}

function rangesOf(profile: SeccompProfile, target: SeccompTarget): Range[] {
  const { defaultAction, defaultErrno } = profile;
  const otherwise = returnOf(defaultAction, defaultErrno);
  const rules = profile.rules.filter((each) => applies(each, target));
  const byCall = new Map<number, SeccompRule[]>();
  for (const each of rules) {
    for (const name of each.names) {
      const call = SYSTEM_CALLS.get(name);
      // Names of other architectures, or of kernels to come.
      if (call === undefined) continue;
      byCall.set(call, [...(byCall.get(call) ?? []), each]);
    }
  }
  // What is newer than the profile does not exist, so that programs use older calls instead.
  const newest = Math.max(-1, ...byCall.keys());
  const isDenying = returnsError(otherwise);
  const ranges: Range[] = [];
  let last = '';
  for (let call = 0; call <= newest + 1; call++) {
    const own = byCall.get(call);
    const beyond = isDenying && call > newest ? ret(RETURN_ERRNO | ENOSYS) : otherwise;
    const code = own === undefined ? [beyond] : verdict(own, otherwise);
    const key = JSON.stringify(code);
    if (key !== last) ranges.push({ first: call, code });
    last = key;
  }
  return ranges;
}

function returnsError({ value }: Instruction): boolean {
  return ![RETURNS.SCMP_ACT_ALLOW, RETURNS.SCMP_ACT_LOG, RETURNS.SCMP_ACT_TRACE].includes(value);
}

/** The program, as seccomp(2) takes it. */
export function seccompFilter(profile: SeccompProfile, target: SeccompTarget): Buffer {
  const program = [
    load(ARCHITECTURE_OFFSET),
    test('jeq', AUDIT_ARCH_X86_64, 1, 0),
    ret(RETURN_ERRNO | ENOSYS),
    load(NUMBER_OFFSET),
    ...search(rangesOf(profile, target)),
  ];
  const bytes = Buffer.alloc(program.length * INSTRUCTION_BYTES);
  for (const [index, { code, ifFalse, ifTrue, value }] of program.entries()) {
    const at = index * INSTRUCTION_BYTES;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(Number(ifTrue ?? 0), at + 2);
    bytes.writeUInt8(Number(ifFalse ?? 0), at + 3);
    bytes.writeUInt32LE(value, at + 4);
  }
  return bytes;
}
