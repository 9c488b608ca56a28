/** The Dockerfile instructions that change how an image's containers run. */
import { TsvmError } from '../../errors.ts';

/** The `config` of OCI's image configuration, as far as these instructions go. */
interface RunConfig {
  Cmd?: readonly string[] | null;
  Entrypoint?: readonly string[] | null;
  Env?: readonly string[];
  ExposedPorts?: Record<string, object>;
  Labels?: Record<string, string>;
  StopSignal?: string;
  User?: string;
  Volumes?: Record<string, object>;
  WorkingDir?: string;
}

/**
 * @param base what the instructions change
 * @throws TsvmError `invalid-config` for an instruction that is none of them
 */
export function applyChanges(instructions: readonly string[], base: RunConfig = {}): RunConfig {
  const config: RunConfig = { ...base };
  const names = new Set<string>();
  for (const instruction of instructions) {
    const [, word = '', value = ''] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(instruction) ?? [];
    const name = word.toUpperCase();
    apply(config, name, value, instruction);
    names.add(name);
  }
  // As in a build: the arguments were meant for the former entrypoint.
  if (names.has('ENTRYPOINT') && !names.has('CMD')) config.Cmd = null;
  return config;
}

function apply(config: RunConfig, name: string, value: string, instruction: string): void {
  if (value === '') throw refused(instruction, 'it has no value');
  switch (name) {
    case 'CMD':
      config.Cmd = commandWords(value);
      return;
    case 'ENTRYPOINT':
      config.Entrypoint = commandWords(value);
      return;
    case 'ENV': {
      const names = pairs(value, instruction);
      const rest = (config.Env ?? []).filter((one) => !names.has(one.split('=')[0] ?? ''));
      config.Env = [...rest, ...[...names].map(([key, text]) => `${key}=${text}`)];
      return;
    }
    case 'LABEL':
      config.Labels = { ...config.Labels, ...Object.fromEntries(pairs(value, instruction)) };
      return;
    case 'EXPOSE':
      for (const port of value.split(/\s+/)) {
        if (!/^\d+(?:\/(?:tcp|udp|sctp))?$/.test(port)) throw refused(instruction, 'no such port');
        config.ExposedPorts = {
          ...config.ExposedPorts,
          [port.includes('/') ? port : `${port}/tcp`]: {},
        };
      }
      return;
    case 'VOLUME':
      for (const path of jsonWords(value) ?? value.split(/\s+/)) {
        config.Volumes = { ...config.Volumes, [path]: {} };
      }
      return;
    case 'USER':
      config.User = value;
      return;
    case 'WORKDIR':
      config.WorkingDir = value;
      return;
    case 'STOPSIGNAL':
      config.StopSignal = value;
      return;
    default:
      throw refused(instruction, 'the instruction is not supported here');
  }
}

function refused(instruction: string, why: string): TsvmError {
  return new TsvmError('invalid-config', `invalid change "${instruction}": ${why}`);
}

/** A list in JSON is run as it is; anything else by a shell. */
function commandWords(value: string): string[] {
  return jsonWords(value) ?? ['/bin/sh', '-c', value];
}

function jsonWords(value: string): string[] | undefined {
  if (!value.startsWith('[')) return undefined;
  try {
    const words: unknown = JSON.parse(value);
    if (Array.isArray(words) && words.every((word) => typeof word === 'string')) return words;
  } catch {}
  return undefined;
}

/** `NAME=VALUE ...` with quotes, or `NAME VALUE`. */
function pairs(value: string, instruction: string): Map<string, string> {
  const found = new Map<string, string>();
  const pattern = /\s*([^\s="]+)=("(?:[^"\\]|\\.)*"|'[^']*'|(?:[^\s\\]|\\.)*)/y;
  while (pattern.lastIndex < value.length) {
    const match = pattern.exec(value);
    if (match === null) break;
    const [, name = '', text = ''] = match;
    found.set(name, /^["']/.test(text) ? text.slice(1, -1).replace(/\\(.)/g, '$1') : text);
    if (pattern.lastIndex === value.length) return found;
  }
  const [, name = '', rest] = /^(\S+)\s+(.+)$/s.exec(value) ?? [];
  if (found.size > 0 || rest === undefined || name.includes('=')) {
    throw refused(instruction, 'give NAME=VALUE');
  }
  return new Map([[name, rest]]);
}
