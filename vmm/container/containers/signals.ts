import { constants } from 'node:os';
import { TsvmError } from '../../errors.ts';

/** glibc's SIGRTMIN and SIGRTMAX. */
const REALTIME_MIN = 34;
const REALTIME_MAX = 64;
const SIGNAL_MAX = 64;

/**
 * A signal by its number or name, with or without `SIG`; also `RTMIN+3`.
 * @throws TsvmError `invalid-config` with Docker's message
 */
export function parseSignal(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= SIGNAL_MAX) return number;
    throw invalid(text);
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const known: Readonly<Record<string, number>> = constants.signals;
  if (Object.hasOwn(known, `SIG${name}`)) return known[`SIG${name}`] ?? 0;
  const [, base, sign, offset = '0'] = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name) ?? [];
  if (base !== undefined) {
    const start = base === 'MIN' ? REALTIME_MIN : REALTIME_MAX;
    const number = sign === '-' ? start - Number(offset) : start + Number(offset);
    if (number >= REALTIME_MIN && number <= REALTIME_MAX) return number;
  }
  throw invalid(text);
}

function invalid(text: string): TsvmError {
  return new TsvmError('container-conflict', `Invalid signal: ${text}`);
}
