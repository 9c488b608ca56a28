import type { HealthCheck } from '../../../container/containers/container-config.ts';
import { isObject, type JsonObject, stringsAt } from '../../../container/json.ts';
import { flag, text } from '../option-values.ts';
import { UsageError } from '../verb.ts';
import { EXIT_BAD_OPTION, parseCount, parseDuration } from './option-kinds.ts';

type Options = Readonly<Record<string, unknown>>;

/** `--health-*`: undefined members are the image's. */
export interface HealthOptions {
  readonly disabled: boolean;
  readonly command: string | undefined;
  readonly retries: number | undefined;
  readonly durationsMs: Readonly<Record<Duration, number | undefined>>;
}

type Duration = keyof typeof DURATIONS_MS;

/** Docker's, for what is 0 or nowhere given. */
const DURATIONS_MS = {
  Interval: 30_000,
  Timeout: 30_000,
  StartPeriod: 0,
  StartInterval: 5_000,
};
const RETRIES = 3;
const NS_PER_MS = 1e6;

/** @throws UsageError with Docker's message */
export function healthOptions(options: Options): HealthOptions {
  const command = text(options, 'healthCmd');
  const count = text(options, 'healthRetries');
  const retries = count === undefined ? undefined : parseCount(count, '--health-retries');
  const durationsMs = {
    Interval: duration(options, 'Interval', '--health-interval'),
    Timeout: duration(options, 'Timeout', '--health-timeout'),
    StartPeriod: duration(options, 'StartPeriod', '--health-start-period'),
    StartInterval: duration(options, 'StartInterval', '--health-start-interval'),
  };
  if (retries !== undefined && retries < 0) throw negative('--health-retries');
  const disabled = options['healthcheck'] === false || flag(options, 'noHealthcheck');
  const given = [command, retries, ...Object.values(durationsMs)];
  if (disabled && given.some((value) => value !== undefined)) {
    throw new UsageError('--no-healthcheck conflicts with --health-* options', EXIT_BAD_OPTION);
  }
  return { disabled, command, retries, durationsMs };
}

function duration(options: Options, name: Duration, flags: string): number | undefined {
  const value = text(options, `health${name}`);
  if (value === undefined) return undefined;
  const ms = parseDuration(value, flags);
  if (ms < 0) throw negative(flags);
  return ms;
}

function negative(flags: string): UsageError {
  return new UsageError(`${flags} cannot be negative`, EXIT_BAD_OPTION);
}

/** The image's health check, changed by the options; undefined: none. */
export function healthCheck(options: HealthOptions, run: JsonObject): HealthCheck | undefined {
  if (options.disabled) return undefined;
  const image = isObject(run['Healthcheck']) ? run['Healthcheck'] : {};
  const { command } = options;
  const test = command === undefined ? (stringsAt(image, 'Test') ?? []) : ['CMD-SHELL', command];
  if (test.length === 0 || test[0] === 'NONE') return undefined;
  const durationMs = (name: Duration) =>
    (options.durationsMs[name] ?? positive(image[name]) / NS_PER_MS) || DURATIONS_MS[name];
  return {
    test,
    intervalMs: durationMs('Interval'),
    timeoutMs: durationMs('Timeout'),
    startPeriodMs: durationMs('StartPeriod'),
    startIntervalMs: durationMs('StartInterval'),
    retries: (options.retries ?? positive(image['Retries'])) || RETRIES,
  };
}

function positive(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0;
}
