/**
 * `-v`, as Docker's client and engine read it: `[SOURCE:]DESTINATION[:MODE]`. Docker's documentation:
 * "docker container run", `--volume`.
 */
import { isAbsolute, resolve } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { invalidMount, mountDestination } from './destination.ts';
import { type BindSpec, PROPAGATIONS, type Propagation, type VolumeSpec } from './mount-spec.ts';
import { checkVolumeName } from './volume-name.ts';

const ACCESS = ['rw', 'ro'];
/** Labels of SELinux, and hints of Docker Desktop's: accepted, without effect. */
const LABELS = ['z', 'Z'];
const CONSISTENCIES = ['consistent', 'cached', 'delegated'];
const COPY = ['copy', 'nocopy'];
const CHOICES: readonly (readonly string[])[] = [
  ACCESS,
  LABELS,
  CONSISTENCIES,
  COPY,
  [...PROPAGATIONS],
];

/** A volume without a name yet. */
export interface AnonymousVolume {
  readonly type: 'anonymous';
  readonly destination: string;
}

/**
 * @param folder what a source that begins with a dot is relative to
 * @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages
 */
export function parseVolumeFlag(
  text: string,
  folder: string,
): BindSpec | VolumeSpec | AnonymousVolume {
  const parts = text.split(':');
  checkParts(text, parts);
  const [first = '', second, mode = ''] = parts;
  if (second === undefined) {
    return { type: 'anonymous', destination: mountDestination(first, 'volume', text) };
  }
  if (parts.length === 2 && isMode(second)) throw invalidSpec(text);
  if (!isMode(mode)) throw new TsvmError('invalid-container', `invalid mode: ${mode}`);
  const source = first.startsWith('.') ? resolve(folder, first) : first;
  const isBind = isAbsolute(source);
  const common = {
    destination: mountDestination(second, isBind ? 'bind' : 'volume', text),
    readOnly: hasChoice(mode, 'ro'),
    mode,
    origin: { option: 'volume', text: [source, ...parts.slice(1)].join(':') },
  } as const;
  if (isBind) {
    const propagation = PROPAGATIONS.find((name) => hasChoice(mode, name)) ?? 'rprivate';
    return { type: 'bind', source: resolve(source), propagation, createSource: true, ...common };
  }
  checkVolumeName(source);
  const copyUp = !hasChoice(mode, 'nocopy');
  return { type: 'volume', name: source, anonymous: false, copyUp, subpath: '', ...common };
}

/** What Docker's client checks. */
function checkParts(text: string, parts: readonly string[]): void {
  if (text === '') throw new TsvmError('invalid-config', 'invalid empty volume spec');
  if (parts.some((part) => part === '')) {
    throw new TsvmError('invalid-config', `invalid spec: ${text}: empty section between colons`);
  }
  if (parts.length > 3) {
    throw new TsvmError('invalid-config', `invalid spec: ${text}: too many colons`);
  }
}

function invalidSpec(text: string): TsvmError {
  return new TsvmError('invalid-container', `invalid volume specification: '${text}'`);
}

function hasChoice(mode: string, choice: string): boolean {
  return mode.split(',').includes(choice);
}

/** At most one of each kind of choice. */
function isMode(mode: string): boolean {
  if (mode === '') return true;
  const words = mode.split(',');
  return (
    words.every((word) => CHOICES.some((choices) => choices.includes(word))) &&
    CHOICES.every((choices) => words.filter((word) => choices.includes(word)).length <= 1)
  );
}

/** @throws TsvmError `invalid-container` */
export function propagationOf(text: string, type: string): Propagation {
  const found = PROPAGATIONS.find((name) => name === text);
  if (found !== undefined) return found;
  throw invalidMount(type, `invalid propagation mode: ${text}`);
}
