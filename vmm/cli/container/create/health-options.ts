import type { HealthCheck } from '../../../container/containers/container-config.ts';
import { isObject, type JsonObject, stringsAt } from '../../../container/json.ts';
import { flag, text } from '../option-values.ts';
import { UsageError } from '../verb.ts';
import { parseCount, parseDuration } from './option-kinds.ts';

type Options = Readonly<Record<string, unknown>>;

const INTERVAL_MS = 30_000;
const TIMEOUT_MS = 30_000;
const START_INTERVAL_MS = 5_000;
const RETRIES = 3;
const NS_PER_MS = 1e6;

/** The image's health check, changed by the options; undefined: none. */
export function healthOptions(options: Options, run: JsonObject): HealthCheck | undefined {
  const names = ['Cmd', 'Interval', 'Retries', 'StartInterval', 'StartPeriod', 'Timeout'];
  const given = names.some((name) => text(options, `health${name}`) !== undefined);
  if (options['healthcheck'] === false || flag(options, 'noHealthcheck')) {
    if (given) {
      throw new UsageError('--no-healthcheck conflicts with --health-* options', 125);
    }
    return undefined;
  }
  const image = isObject(run['Healthcheck']) ? run['Healthcheck'] : {};
  const command = text(options, 'healthCmd');
  const test = command === undefined ? (stringsAt(image, 'Test') ?? []) : ['CMD-SHELL', command];
  if (test.length === 0 || test[0] === 'NONE') return undefined;
  const duration = (option: string, flags: string, field: string, standard: number) => {
    const value = text(options, option);
    if (value !== undefined) return parseDuration(value, flags) || standard;
    const ns = image[field];
    return typeof ns === 'number' && ns > 0 ? ns / NS_PER_MS : standard;
  };
  const retries = text(options, 'healthRetries');
  const imageRetries = image['Retries'];
  const standardRetries = typeof imageRetries === 'number' && imageRetries > 0 ? imageRetries : 3;
  return {
    test,
    intervalMs: duration('healthInterval', '--health-interval', 'Interval', INTERVAL_MS),
    timeoutMs: duration('healthTimeout', '--health-timeout', 'Timeout', TIMEOUT_MS),
    startPeriodMs: duration('healthStartPeriod', '--health-start-period', 'StartPeriod', 0),
    startIntervalMs: duration(
      'healthStartInterval',
      '--health-start-interval',
      'StartInterval',
      START_INTERVAL_MS,
    ),
    retries:
      retries === undefined ? standardRetries : parseCount(retries, '--health-retries') || RETRIES,
  };
}
