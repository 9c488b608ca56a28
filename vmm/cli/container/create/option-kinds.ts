/** Values of the options of `run` and `create`, with the messages of Docker's client. */

import type { ResourceLimit } from '../../../container/agent/agent.ts';
import {
  RESTART_POLICIES,
  type RestartPolicy,
} from '../../../container/containers/container-config.ts';
import { TsvmError } from '../../../errors.ts';
import { UsageError } from '../verb.ts';

/** Docker's exit code for an option that cannot be used. */
export const EXIT_BAD_OPTION = 125;

export function badValue(value: string, flags: string, reason: string): UsageError {
  return new UsageError(
    `invalid argument "${value}" for "${flags}" flag: ${reason}`,
    EXIT_BAD_OPTION,
  );
}

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  p: 2 ** 50,
};

/** Bytes, such as `512m` or `1.5GiB`. @throws UsageError */
export function parseBytes(value: string, flags: string): number {
  const bad = (reason: string) => badValue(value, flags, reason);
  const [, digits = '', unit = ''] = /^(.*[\d. ])?([^\d. ]*)$/s.exec(value) ?? [];
  if (digits === '') throw bad(`invalid size: '${value}'`);
  const number = digits.endsWith(' ') ? digits.slice(0, -1) : digits;
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(number)) {
    throw bad(`strconv.ParseFloat: parsing ${JSON.stringify(number)}: invalid syntax`);
  }
  if (Number(number) < 0) throw bad(`invalid size: '${value}'`);
  const [known, letter = ''] = /^(?:b|([kmgtp])(?:i?b)?)?$/i.exec(unit) ?? [];
  if (known === undefined) throw bad(`invalid suffix: '${unit.toLowerCase()}'`);
  return Math.floor(Number(number) * (UNITS[letter.toLowerCase()] ?? 1));
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration in ms, as Go writes it: `1m30s`; may be negative. @throws UsageError */
export function parseDuration(value: string, flags: string): number {
  const [, sign, text = ''] = /^([+-]?)(.*)$/s.exec(value) ?? [];
  if (text === '0') return 0;
  const shown = JSON.stringify(value);
  const bad = (reason: string) => badValue(value, flags, `time: ${reason} ${shown}`);
  if (text === '') throw bad('invalid duration');
  let sumMs = 0;
  for (let rest = text; rest !== ''; ) {
    const [all = '', count = '', unit = ''] = /^(\d+\.?\d*|\.\d+)([^\d.]*)/.exec(rest) ?? [];
    if (count === '') throw bad('invalid duration');
    if (unit === '') throw bad('missing unit in duration');
    const unitMs = DURATION_UNITS_MS[unit];
    if (unitMs === undefined) throw bad(`unknown unit ${JSON.stringify(unit)} in duration`);
    sumMs += Number(count) * unitMs;
    rest = rest.slice(all.length);
  }
  return sign === '-' ? -sumMs : sumMs;
}

export function parseCount(value: string, flags: string): number {
  if (/^[+-]?\d+$/.test(value)) return Number(value);
  throw badValue(value, flags, parseIntProblem(value));
}

function parseIntProblem(value: string): string {
  return `strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`;
}

/** `--cpus`: processors, such as 1.5 or 3/2; 0: no limit. */
export function parseCpus(value: string): number {
  const [, numerator, denominator = '1'] =
    /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i.exec(value) ??
    /^([+-]?\d+)\/(\d+)$/.exec(value) ??
    [];
  const cpus = Number(numerator) / Number(denominator);
  if (numerator !== undefined && Number.isFinite(cpus)) return cpus;
  throw badValue(value, '--cpus', `failed to parse ${value} as a rational number`);
}

/** @throws UsageError; TsvmError `container-conflict` for what Docker's engine refuses */
export function parseRestart(value: string): RestartPolicy {
  const colon = value.indexOf(':');
  const name = colon < 0 ? value : value.slice(0, colon);
  const count = colon < 0 ? '' : value.slice(colon + 1);
  const format = (reason: string) =>
    new UsageError(`invalid restart policy format: ${reason}`, EXIT_BAD_OPTION);
  const policy = (reason: string) =>
    new TsvmError('container-conflict', `invalid restart policy: ${reason}`);
  if (colon === 0) throw format('no policy provided before colon');
  if (!/^(?:[+-]?\d+)?$/.test(count)) throw format('maximum retry count must be an integer');
  const maximumRetryCount = Number(count);
  const known = RESTART_POLICIES.find((one) => one === (name || 'no'));
  if (known === undefined) {
    throw policy(
      `unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (known !== 'on-failure' && maximumRetryCount !== 0) {
    throw policy("maximum retry count can only be used with 'on-failure'");
  }
  if (maximumRetryCount < 0) throw policy('maximum retry count cannot be negative');
  return { name: known, maximumRetryCount };
}

const LIMIT_NAMES = [
  ...['core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc'],
  ...['rss', 'rtprio', 'rttime', 'sigpending', 'stack'],
];

/** `nofile=1024:2048`; -1: unlimited. @throws UsageError */
export function parseUlimit(value: string): ResourceLimit {
  const flags = '--ulimit';
  const equals = value.indexOf('=');
  const name = value.slice(0, Math.max(0, equals));
  const bad = (reason: string) => badValue(value, flags, reason);
  if (equals < 0) throw bad(`invalid ulimit argument: ${value}`);
  if (!LIMIT_NAMES.includes(name)) throw bad(`invalid ulimit type: ${name}`);
  const text = value.slice(equals + 1);
  const [soft = '', hard = soft, ...more] = text.split(':');
  if (more.length > 0) {
    throw bad(`too many limit value arguments - ${text}, can only have up to two, \`soft[:hard]\``);
  }
  for (const number of [hard, soft]) {
    if (!/^[+-]?\d+$/.test(number)) throw bad(parseIntProblem(number));
  }
  const limit = { name, soft: Number(soft), hard: Number(hard) };
  const isAbove = limit.hard !== -1 && (limit.soft === -1 || limit.soft > limit.hard);
  if (isAbove) {
    const numbers = limit.soft === -1 ? `soft: -1 (unlimited), hard: ${hard}` : `${soft} > ${hard}`;
    throw bad(`ulimit soft limit must be less than or equal to hard limit: ${numbers}`);
  }
  return limit;
}

/** `NAME=VALUE` settings; without `=` the value is empty. */
export function keyValues(values: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    values.map((value): [string, string] => {
      const equals = value.indexOf('=');
      return equals < 0 ? [value, ''] : [value.slice(0, equals), value.slice(equals + 1)];
    }),
  );
}
