/**
 * Named volumes: `DATA/volumes/NAME/`, with `volume.json` and the content in `_data`. A volume appears
 * and disappears by renaming its folder, so a kill leaves only a folder whose name begins with a dot,
 * which the next change removes.
 */
import { chmodSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { dataFolder } from '../../host/folders.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { removeTree } from '../../host/remove-tree.ts';
import { hasCode } from '../../util/error-code.ts';
import { checkVolumeName } from './volume-name.ts';

const RECORD = 'volume.json';
const DATA = '_data';
const LOCK = 'lock';
const RECORD_VERSION = 1;
/** Of a new volume's root, as Docker has it. */
const ROOT_MODE = 0o755;

export interface VolumeRecord {
  readonly version: typeof RECORD_VERSION;
  readonly name: string;
  readonly createdMs: number;
  /** The user gave it no name. */
  readonly anonymous: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Of Docker's local driver; only `type=none,o=bind,device=FOLDER` has an effect. */
  readonly options: Readonly<Record<string, string>>;
}

export type NewVolume = Omit<VolumeRecord, 'version' | 'createdMs'>;

export class VolumeStore {
  readonly folder: string;

  /** @param folder need not exist */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** Where Docker's `Mountpoint` is: what containers see of it. */
  dataPath({ name, options }: Pick<VolumeRecord, 'name' | 'options'>): string {
    return options['device'] ?? join(this.folder, name, DATA);
  }

  /** A file whose locks order the first uses of a volume. */
  lockPath(name: string): string {
    return join(this.folder, name, LOCK);
  }

  /** Undefined when there is none of that name. */
  read(name: string): VolumeRecord | undefined {
    if (name === '' || name.startsWith('.') || name.includes('/')) return undefined;
    const path = join(this.folder, name, RECORD);
    try {
      const record: VolumeRecord = JSON.parse(readFileSync(path, 'utf8'));
      if (record.version === RECORD_VERSION && record.name === name) return record;
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw new TsvmError(
      'store-failed',
      `${path} is damaged, or of another version of tsvm: remove the folder that it is in`,
    );
  }

  /** @throws TsvmError `volume-not-found` */
  find(name: string): VolumeRecord {
    const record = this.read(name);
    if (record !== undefined) return record;
    throw new TsvmError('volume-not-found', `get ${name}: no such volume`);
  }

  /** All of them, by name. */
  list(): VolumeRecord[] {
    return this.#names()
      .filter((name) => !name.startsWith('.'))
      .sort()
      .flatMap((name) => this.read(name) ?? []);
  }

  /**
   * Makes a volume, or finds the one that has the name.
   * @throws TsvmError `invalid-container` when the name or an option is not allowed
   */
  create(volume: NewVolume): VolumeRecord {
    checkVolumeName(volume.name);
    checkOptions(volume);
    const existing = this.read(volume.name);
    if (existing !== undefined) return existing;
    makeFolders(this.folder, 0o711);
    this.#removeLeftovers();
    const record: VolumeRecord = { version: RECORD_VERSION, createdMs: Date.now(), ...volume };
    const draft = join(this.folder, draftName('new'));
    makeFolders(join(draft, DATA), 0o711);
    // mkdir's mode is subject to the umask.
    chmodSync(join(draft, DATA), ROOT_MODE);
    writeFileSync(join(draft, LOCK), '');
    writeFileSync(join(draft, RECORD), `${JSON.stringify(record)}\n`);
    try {
      renameSync(draft, join(this.folder, volume.name));
    } catch (error) {
      removeTree(draft);
      if (!hasCode(error, 'EEXIST', 'ENOTEMPTY')) throw error;
      return this.find(volume.name);
    }
    return record;
  }

  /** @throws TsvmError `volume-not-found` */
  remove(name: string): void {
    this.find(name);
    const gone = join(this.folder, draftName('gone'));
    renameSync(join(this.folder, name), gone);
    removeTree(gone);
  }

  #removeLeftovers(): void {
    for (const name of this.#names()) {
      if (isAbandoned(name)) removeTree(join(this.folder, name));
    }
  }

  #names(): string[] {
    try {
      return readdirSync(this.folder);
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw error;
    }
  }
}

function draftName(kind: 'new' | 'gone'): string {
  return `.${kind}-${process.pid}-${Date.now()}`;
}

/** Whether the process that made a draft has ended. */
function isAbandoned(name: string): boolean {
  const [, pid] = /^\.(?:new|gone)-(\d+)-\d+$/.exec(name) ?? [];
  if (pid === undefined || Number(pid) === process.pid) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return hasCode(error, 'ESRCH');
  }
}

/** Docker's local driver passes options to mount(8); of these, only a bind needs no mount. */
function checkOptions({ name, options }: NewVolume): void {
  const { device, o, type, ...others } = options as Readonly<Record<string, string | undefined>>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw refused(name, `invalid option: ${JSON.stringify(unknown)}`);
  }
  if (device === undefined && o === undefined && type === undefined) return;
  const isBind =
    o?.split(',').includes('bind') && (type === undefined || /^(?:none|bind)$/.test(type));
  if (device === undefined || !device.startsWith('/') || !isBind) {
    throw refused(
      name,
      'the options type, o and device are only supported as type=none,o=bind,device=/FOLDER; ' +
        'mount other file systems on the host and use -v FOLDER:DESTINATION',
    );
  }
}

function refused(name: string, reason: string): TsvmError {
  return new TsvmError('invalid-container', `create ${name}: ${reason}`);
}

/**
 * The user's volumes. Nothing is opened or made yet.
 * @throws TsvmError `store-failed` for a user without a home folder
 */
export function openVolumeStore(): VolumeStore {
  const data = dataFolder();
  if (data !== undefined) return new VolumeStore(join(data, 'volumes'));
  throw new TsvmError(
    'store-failed',
    'no folder for volumes: set HOME, XDG_DATA_HOME or TSVM_DATA_FOLDER',
  );
}
