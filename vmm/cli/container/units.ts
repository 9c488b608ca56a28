/** Sizes, times and IDs as Docker shows them. */

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** In units of 1000, with so many significant digits. */
export function humanSize(bytes: number, digits = 4): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < SIZE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(digits))}${SIZE_UNITS[unit]}`;
}

const SECONDS_A_DAY = 86_400;

/** How long something took, roughly. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(seconds / 3600 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(seconds / SECONDS_A_DAY / 365)} years`;
}

export function timeAgo(ms: number): string {
  return `${humanDuration(Date.now() - ms)} ago`;
}

/** As Go prints a time: `2006-01-02 15:04:05 +0000 UTC`, in the user's time zone. */
export function goTime(ms: number): string {
  const date = new Date(ms);
  const name = /\(([^)]*)\)$/.exec(date.toString())?.[1] ?? 'UTC';
  const zone = /^[A-Z]{2,5}$/.test(name) ? name : name.replace(/[^A-Z]/g, '') || 'UTC';
  const { day, time, offset } = localParts(date);
  return `${day} ${time} ${offset.replace(':', '')} ${offset === '+00:00' ? 'UTC' : zone}`;
}

/** RFC 3339 in the user's time zone. */
export function rfc3339(ms: number): string {
  const { day, time, offset } = localParts(new Date(ms));
  return `${day}T${time}${offset === '+00:00' ? 'Z' : offset}`;
}

function localParts(date: Date): { day: string; time: string; offset: string } {
  const minutes = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + minutes * 60_000).toISOString();
  const two = (value: number) => String(value).padStart(2, '0');
  const size = Math.abs(minutes);
  const offset = `${minutes < 0 ? '-' : '+'}${two(Math.trunc(size / 60))}:${two(size % 60)}`;
  return { day: local.slice(0, 10), time: local.slice(11, 19), offset };
}

const SHORT_ID_DIGITS = 12;

/** The beginning of an ID or digest, without its algorithm. */
export function shortId(digest: string): string {
  const hex = digest.slice(digest.indexOf(':') + 1);
  return hex.slice(0, SHORT_ID_DIGITS);
}
