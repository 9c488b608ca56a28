import { InvalidArgumentError } from 'commander';
import type { PortForward } from '../backends/net/passt.ts';
import type { NetConfig } from '../machine/net-config.ts';
import type { RateLimits } from '../machine/rate-limits.ts';
import { limitSettings } from './limit-settings.ts';

const LOOPBACK = '127.0.0.1';

const FORWARD = /^(?:(tcp|udp):)?(?:(\[[^\]]*\]|[^:[\]]*):)?(\d+):(\d+)$/;

/** `hostfwd=[tcp:|udp:][ADDRESS:]PORT:GUESTPORT`. */
function parseForward(text: string): PortForward {
  const match = FORWARD.exec(text);
  if (match === null) {
    throw new InvalidArgumentError(
      `'hostfwd=${text}': use hostfwd=[tcp:|udp:][ADDRESS:]PORT:GUESTPORT, such as 8080:80.`,
    );
  }
  const [, protocol = 'tcp', address = '', hostPort, guestPort] = match;
  return {
    protocol: protocol === 'udp' ? 'udp' : 'tcp',
    address: address.replace(/^\[|\]$/g, '') || LOOPBACK,
    hostPort: Number(hostPort),
    guestPort: Number(guestPort),
  };
}

function parseNumber(name: string, text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError(`'${name}=${text}': use a number.`);
  return Number(text);
}

function parseLink(text: string): boolean {
  if (text === 'up' || text === 'down') return text === 'up';
  throw new InvalidArgumentError(`'link=${text}': use up or down.`);
}

function parseSpoofing(text: string): boolean {
  if (text === 'on' || text === 'off') return text === 'on';
  throw new InvalidArgumentError(`'spoofing=${text}': use on or off.`);
}

/** The settings of both kinds of networks, by name. */
const SETTINGS: Readonly<Record<string, (text: string) => object>> = {
  mac: (text) => ({ mac: text }),
  mtu: (text) => ({ mtu: parseNumber('mtu', text) }),
  link: (text) => ({ linkUp: parseLink(text) }),
};
const TAP_SETTINGS: typeof SETTINGS = {
  ...SETTINGS,
  queues: (text) => ({ queues: parseNumber('queues', text) }),
  spoofing: (text) => ({ spoofing: parseSpoofing(text) }),
};

const LIMITS = limitSettings('pps');

/** Applies `name=value` settings; a name that is not in `known` goes to `other`. */
function parseSettings(
  settings: readonly string[],
  known: typeof SETTINGS,
  other: (name: string, value: string) => boolean = () => false,
): object {
  let result = {};
  let limits: RateLimits | undefined;
  for (const setting of settings) {
    const [, name = '', value] = /^([^=]*)(?:=(.*))?$/s.exec(setting) ?? [];
    if (value !== undefined && Object.hasOwn(LIMITS, name)) {
      limits = { ...limits, ...LIMITS[name]?.(value) };
    } else if (value !== undefined && Object.hasOwn(known, name)) {
      result = { ...result, ...known[name]?.(value) };
    } else if (value === undefined || !other(name, value)) {
      const own = known === SETTINGS ? ['hostfwd'] : [];
      const names = [...own, ...Object.keys(known), ...Object.keys(LIMITS)];
      throw new InvalidArgumentError(
        `Unknown setting '${setting}'. The settings are ${names.map((one) => `${one}=`).join(', ')}.`,
      );
    }
  }
  return limits === undefined ? result : { ...result, limits };
}

/**
 * `--net user[,hostfwd=...]...`, `--net tap=NAME[,queues=N][,spoofing=off]` and `--net none`, the first two with
 * `mac=`, `mtu=`, `bps=` and `pps=`. Undefined for none.
 */
export function parseNet(text: string): NetConfig | undefined {
  const [kind = '', ...settings] = text.split(',');
  if (kind === 'none' && settings.length === 0) return undefined;
  if (kind === 'user') {
    const forwards: PortForward[] = [];
    const parsed = parseSettings(settings, SETTINGS, (name, value) => {
      if (name !== 'hostfwd') return false;
      forwards.push(parseForward(value));
      return true;
    });
    return { kind: 'user', forwards, ...parsed };
  }
  const name = /^tap=(.+)$/.exec(kind)?.[1];
  if (name === undefined) {
    throw new InvalidArgumentError('Use user, tap=NAME or none, with settings after commas.');
  }
  return { kind: 'tap', name, ...parseSettings(settings, TAP_SETTINGS) };
}
