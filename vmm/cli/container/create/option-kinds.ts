/** Values of the options of `run` and `create`, with the messages of Docker's client. */

import type { ResourceLimit } from '../../../container/agent/agent.ts';
import {
  RESTART_POLICIES,
  type RestartPolicy,
} from '../../../container/containers/container-config.ts';
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
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  p: 2 ** 50,
};

/** Bytes, such as `512m` or `1.5GiB`. */
export function parseBytes(value: string, flags: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(value) ?? [];
  if (number === undefined) throw badValue(value, flags, `invalid size: '${value}'`);
  return Math.floor(Number(number) * (UNITS[unit.toLowerCase()] ?? 1));
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

/** A duration in ms, as Go writes it: `1m30s`. */
export function parseDuration(value: string, flags: string): number {
  if (value === '0') return 0;
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== value) {
    throw badValue(value, flags, `time: invalid duration "${value}"`);
  }
  return parts.reduce(
    (sum, [, count, unit = 's']) => sum + Number(count) * (DURATION_UNITS_MS[unit] ?? 0),
    0,
  );
}

export function parseCount(value: string, flags: string): number {
  if (/^-?\d+$/.test(value)) return Number(value);
  throw badValue(value, flags, `strconv.ParseInt: parsing "${value}": invalid syntax`);
}

/** `--cpus`: processors, such as 1.5; 0: no limit. */
export function parseCpus(value: string): number {
  const cpus = Number(value);
  if (/^\d+(?:\.\d+)?$|^\.\d+$/.test(value) && Number.isFinite(cpus)) return cpus;
  throw badValue(value, '--cpus', `failed to parse ${value} as a rational number`);
}

export function parseRestart(value: string): RestartPolicy {
  const [name = '', count, ...rest] = value.split(':');
  const known = RESTART_POLICIES.find((policy) => policy === name);
  if (value === '') return { name: 'no', maximumRetryCount: 0 };
  if (known === undefined || rest.length > 0) {
    throw daemonError(
      `invalid restart policy: unknown policy '${name}'; use one of ` +
        "'no', 'always', 'on-failure', or 'unless-stopped'",
    );
  }
  if (count === undefined) return { name: known, maximumRetryCount: 0 };
  if (!/^\d+$/.test(count)) {
    throw new UsageError(
      'invalid restart policy format: maximum retry count must be an integer',
      125,
    );
  }
  if (known !== 'on-failure') {
    throw daemonError(
      "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    );
  }
  return { name: known, maximumRetryCount: Number(count) };
}

function daemonError(message: string): UsageError {
  return new UsageError(message, EXIT_BAD_OPTION);
}

const LIMIT_NAMES = [
  ...['core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc'],
  ...['rss', 'rtprio', 'rttime', 'sigpending', 'stack'],
];

/** `nofile=1024:2048`; -1: unlimited. */
export function parseUlimit(value: string): ResourceLimit {
  const flags = '--ulimit';
  const [, name, soft = '', hard = soft] = /^([^=]+)=(-?\d+)(?::(-?\d+))?$/.exec(value) ?? [];
  if (name === undefined) throw badValue(value, flags, `invalid ulimit argument: ${value}`);
  if (!LIMIT_NAMES.includes(name)) throw badValue(value, flags, `invalid ulimit type: ${name}`);
  const limit = { name, soft: Number(soft), hard: Number(hard) };
  if (limit.hard !== -1 && (limit.soft === -1 || limit.soft > limit.hard)) {
    throw badValue(
      value,
      flags,
      `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`,
    );
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
