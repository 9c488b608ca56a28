/** `--mount`, as Docker's client and engine read it: comma-separated `key=value` fields. */
import { isAbsolute, resolve } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { csvFields } from '../../util/csv-line.ts';
import { goBoolean } from '../../util/go-boolean.ts';
import { parseSize } from '../../util/size.ts';
import { invalidMount, mountDestination } from './destination.ts';
import type { BindSpec, TmpfsSpec, VolumeSpec } from './mount-spec.ts';
import { propagationOf } from './volume-flag.ts';
import { anonymousVolumeName, checkVolumeName } from './volume-name.ts';

/** How `bind-recursive` treats mounts below the source. */
type Recursion = 'enabled' | 'disabled' | 'writable' | 'readonly';
const RECURSIONS: readonly string[] = ['enabled', 'disabled', 'writable', 'readonly'];

/** What a `--mount` says. */
interface Fields {
  type: string;
  source: string;
  target: string;
  readOnly: boolean;
  propagation?: string;
  recursive?: Recursion;
  noCopy?: boolean;
  subpath?: string;
  driver?: string;
  labels: Map<string, string>;
  options: Map<string, string>;
  sizeBytes?: number;
  mode?: number;
  /** Kinds of options that were given. */
  kinds: Set<'bind' | 'volume' | 'tmpfs'>;
}

/** What is needed to make a volume of `--mount`. */
export interface VolumeSettings {
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

export interface ParsedMount {
  readonly spec: BindSpec | VolumeSpec | TmpfsSpec;
  /** Of a volume that does not exist yet. */
  readonly volume?: VolumeSettings;
}

/**
 * @param folder what a source that begins with a dot is relative to
 * @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages
 */
export function parseMountFlag(text: string, folder: string): ParsedMount {
  let fields: Fields;
  try {
    fields = readFields(text.trim(), folder);
    checkFields(fields);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new TsvmError(
      'invalid-config',
      `invalid argument ${JSON.stringify(text)} for "--mount" flag: ${error.message}`,
    );
  }
  return mountOf(fields);
}

function readFields(text: string, folder: string): Fields {
  const fields: Fields = {
    type: 'volume',
    source: '',
    target: '',
    readOnly: false,
    labels: new Map(),
    options: new Map(),
    kinds: new Set(),
  };
  for (const field of csvFields(text)) {
    const equals = field.indexOf('=');
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    if (equals < 0) setFlag(fields, key, field);
    else setValue(fields, key, field.slice(equals + 1), field, folder);
    const kind = (['bind', 'volume', 'tmpfs'] as const).find((one) => key.startsWith(`${one}-`));
    if (kind !== undefined) fields.kinds.add(kind);
  }
  return fields;
}

function setFlag(fields: Fields, key: string, field: string): void {
  if (key === 'readonly' || key === 'ro') fields.readOnly = true;
  else if (key === 'volume-nocopy') fields.noCopy = true;
  else if (key === 'bind-nonrecursive') fields.recursive = 'disabled';
  else throw new RangeError(`invalid field '${field}' must be a key=value pair`);
}

function setValue(fields: Fields, key: string, value: string, field: string, folder: string): void {
  switch (key) {
    case 'type':
      fields.type = value.toLowerCase();
      return;
    case 'source':
    case 'src':
      fields.source = value.startsWith('.') ? resolve(folder, value) : value;
      return;
    case 'target':
    case 'dst':
    case 'destination':
      fields.target = value;
      return;
    case 'readonly':
    case 'ro':
      fields.readOnly = booleanOf(key, value);
      return;
    case 'consistency':
      return;
    case 'bind-propagation':
      fields.propagation = value.toLowerCase();
      return;
    case 'bind-nonrecursive':
      if (booleanOf(key, value)) fields.recursive = 'disabled';
      return;
    case 'bind-recursive': {
      const recursion = value.toLowerCase();
      if (!RECURSIONS.includes(recursion)) {
        throw invalidValue(
          key,
          value,
          ' (must be "enabled", "disabled", "writable", or "readonly")',
        );
      }
      fields.recursive = recursion as Recursion;
      return;
    }
    case 'volume-subpath':
      fields.subpath = value;
      return;
    case 'volume-nocopy':
      fields.noCopy = booleanOf(key, value);
      return;
    case 'volume-label':
      setPair(fields.labels, value);
      return;
    case 'volume-driver':
      fields.driver = value;
      return;
    case 'volume-opt':
      setPair(fields.options, value);
      return;
    case 'tmpfs-size':
      fields.sizeBytes = parseSize(value, 1) ?? refuse(key, value);
      return;
    case 'tmpfs-mode':
      if (!/^[0-7]{1,11}$/.test(value)) refuse(key, value);
      fields.mode = Number.parseInt(value, 8);
      return;
    default:
      throw new RangeError(`unexpected key '${key}' in '${field}'`);
  }
}

function invalidValue(key: string, value: string, advice = ''): RangeError {
  return new RangeError(`invalid value for ${key}: ${value}${advice}`);
}

function refuse(key: string, value: string): never {
  throw invalidValue(key, value);
}

function booleanOf(key: string, value: string): boolean {
  return goBoolean(value) ?? refuse(key, value);
}

function setPair(map: Map<string, string>, text: string): void {
  const equals = text.indexOf('=');
  if (equals < 0) map.set(text, '');
  else map.set(text.slice(0, equals), text.slice(equals + 1));
}

/** What Docker's client checks of all fields together. */
function checkFields({ kinds, propagation, readOnly, recursive, target, type }: Fields): void {
  if (type === '') throw new RangeError('type is required');
  if (target === '') throw new RangeError('target is required');
  for (const kind of ['volume', 'bind', 'tmpfs'] as const) {
    if (kinds.has(kind) && type !== kind) {
      throw new RangeError(`cannot mix '${kind}-*' options with mount type '${type}'`);
    }
  }
  const needs = (option: string) =>
    new RangeError(
      `option 'bind-recursive=${recursive}' requires '${option}' to be specified in conjunction`,
    );
  if (recursive !== 'writable' && recursive !== 'readonly') return;
  if (!readOnly) throw needs('readonly');
  if (recursive === 'readonly' && propagation !== 'rprivate')
    throw needs('bind-propagation=rprivate');
}

function mountOf(fields: Fields): ParsedMount {
  const { readOnly, source, target, type } = fields;
  const common = {
    destination: mountDestination(target, type),
    readOnly,
    mode: '',
    origin: { option: 'mount' },
  } as const;
  switch (type) {
    case 'bind': {
      if (source === '') throw invalidMount(type, 'field Source must not be empty');
      if (!isAbsolute(source)) {
        throw invalidMount(type, `invalid mount path: '${source}' mount path must be absolute`);
      }
      if (fields.recursive === 'disabled') {
        throw invalidMount(
          type,
          'bind-recursive=disabled is not supported: mounts below the source are always shared',
        );
      }
      const propagation = propagationOf(fields.propagation ?? 'rprivate', type);
      return {
        spec: { type, source: resolve(source), propagation, createSource: false, ...common },
      };
    }
    case 'volume':
      return volumeOf(fields, common);
    case 'tmpfs': {
      if (source !== '') throw invalidMount(type, 'field Source must not be specified');
      const { mode, sizeBytes } = fields;
      const options = [
        ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
        ...(mode === undefined ? [] : [`mode=${mode.toString(8)}`]),
      ].join(',');
      return { spec: { type, options, ...common } };
    }
    default:
      throw invalidMount(type, 'mount type unknown');
  }
}

function volumeOf(
  { driver, labels, noCopy, options, readOnly, source, subpath = '' }: Fields,
  common: Omit<VolumeSpec, 'type' | 'name' | 'anonymous' | 'copyUp' | 'subpath'>,
): ParsedMount {
  const anonymous = source === '';
  if (anonymous && readOnly) {
    throw invalidMount('volume', 'must not set ReadOnly mode when using anonymous volumes');
  }
  if (anonymous && subpath !== '') {
    throw invalidMount('volume', 'must not set Subpath when using anonymous volumes');
  }
  if (isAbsolute(subpath) || subpath.split('/').includes('..')) {
    throw invalidMount('volume', 'subpath must be a relative path within the volume');
  }
  const name = anonymous ? anonymousVolumeName() : source;
  checkVolumeName(name);
  return {
    spec: { type: 'volume', name, anonymous, copyUp: noCopy !== true, subpath, ...common },
    volume: {
      driver: driver ?? 'local',
      labels: Object.fromEntries(labels),
      options: Object.fromEntries(options),
    },
  };
}
