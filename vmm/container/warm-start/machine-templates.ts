/**
 * Machines that were saved when their agent had said hello, for containers to go on from: no container's
 * machine boots a kernel if there is one of its shape.
 *
 * ```
 * CACHE/templates/KEYRANDOM/memory, state   see machine/saved-machine.ts
 * CACHE/templates/KEYRANDOM/layer           image of the writable disk that it has mounted, if it has
 * CACHE/templates/KEY.failed                 why it could not be made
 * CACHE/templates/lock                       held while one is made, or all are removed
 * ```
 * KEY is a hash of everything that a template depends on, this boot of the host included. A template
 * appears complete, by rename, and no other ever has its name: its files belong together, whenever each is
 * read. Only its owner can read it. It holds memory of a guest that has seen no image and no container.
 */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { draftName } from '../../host/drafts.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { cacheFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { ensurePrivateFolder } from '../../host/private-folder.ts';
import { randomHex } from '../../host/random.ts';
import { sha256 } from '../../host/sha256.ts';
import { packageRoot } from '../../util/package-root.ts';
import { printable } from '../../util/printable.ts';
import type { TemplateShape } from './machine-shape.ts';

/** Turns warm starts off. */
const VARIABLE = 'TSVM_WARM_START';
/** Of about 60 MB each; the ones that were not used for longest are removed. */
export const TEMPLATES_MAX = 6;
/** A larger memory takes too long to look through. */
const MEMORY_MAX_BYTES = 8 * 2 ** 30;
/** A template that could not be made is not tried again for so long. */
const FAILURE_HOLDS_MS = 3_600_000;
const FAILED_SUFFIX = '.failed';
const LOCK_NAME = 'lock';
const KEY_DIGITS = 16;
const RANDOM_BYTES = 8;

/** What the code of a machine consists of; those that are missing do not count. */
const CODE_FILES = [
  'package.json',
  'dist/supervisor.js',
  'kvm-addon/build/Release/tsvm.node',
  'vmm/machine/saved-machine.ts',
];

export class MachineTemplates {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined where there is no cache folder, or warm starts are turned off. */
  static ofUser(env: NodeJS.ProcessEnv = process.env): MachineTemplates | undefined {
    const cache = cacheFolder(env);
    if (cache === undefined || env[VARIABLE] === 'off') return undefined;
    return new MachineTemplates(join(cache, 'templates'));
  }

  /** The folder of the template of a shape; undefined if there is none. */
  find(shape: TemplateShape): string | undefined {
    const key = this.#keyOf(shape);
    const folder = key && this.#folderOf(key);
    if (folder === undefined) return undefined;
    try {
      const now = new Date();
      utimesSync(folder, now, now);
      return folder;
    } catch {
      return undefined;
    }
  }

  /** Whether a template of a shape can be made, and is worth it. */
  wants(shape: TemplateShape): boolean {
    const key = this.#keyOf(shape);
    if (key === undefined || shape.memoryBytes > MEMORY_MAX_BYTES) return false;
    if (this.#folderOf(key) !== undefined) return false;
    const failedMs = ageMs(this.#failurePath(key));
    return failedMs === undefined || failedMs > FAILURE_HOLDS_MS;
  }

  /** A template of which no machine could go on. */
  discard(folder: string, reason: string): void {
    try {
      const key = basename(folder).slice(0, KEY_DIGITS);
      writeFileSync(this.#failurePath(key), `${reason}\n`, { mode: 0o600 });
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another process does the same.
    }
  }

  /**
   * Makes the template of a shape, unless somebody makes one now.
   * @param save saves a machine in an empty folder
   */
  async make(shape: TemplateShape, save: (folder: string) => Promise<void>): Promise<void> {
    const key = this.#keyOf(shape);
    if (key === undefined) return;
    ensurePrivateFolder(this.#folder);
    using lock = this.#lock();
    if (lock === undefined || !this.wants(shape)) return;
    for (const name of this.#names()) {
      // Whoever made it did not live to rename it: the lock is ours.
      if (name.endsWith('.partial')) this.#remove(name);
    }
    const draft = join(this.#folder, draftName());
    try {
      mkdirSync(draft, { mode: 0o700 });
      await save(draft);
      renameSync(draft, join(this.#folder, key + randomHex(RANDOM_BYTES)));
      rmSync(this.#failurePath(key), { force: true });
      this.#removeOldest();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      writeFileSync(this.#failurePath(key), `${reason}\n`, { mode: 0o600 });
      throw error;
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }

  /** Number of templates, and bytes of all files. */
  usage(): { readonly count: number; readonly bytes: number } {
    let count = 0;
    let bytes = 0;
    for (const name of this.#names()) {
      if (!isTemplate(name)) continue;
      count += 1;
      for (const file of ['memory', 'state', 'layer']) {
        bytes += allocatedBytes(join(this.#folder, name, file));
      }
    }
    return { count, bytes };
  }

  /** Why templates could not be made, as long as that keeps them from being tried again. */
  failures(): string[] {
    return this.#names().flatMap((name) => {
      const path = join(this.#folder, name);
      if (!name.endsWith(FAILED_SUFFIX) || (ageMs(path) ?? FAILURE_HOLDS_MS) >= FAILURE_HOLDS_MS) {
        return [];
      }
      try {
        return [printable(readFileSync(path, 'utf8').trim())];
      } catch {
        return [];
      }
    });
  }

  /** Removes all templates, unless one is being made. @returns the bytes that this has freed */
  removeAll(): number {
    using lock = this.#lock();
    if (lock === undefined) return 0;
    const { bytes } = this.usage();
    for (const name of this.#names()) if (name !== LOCK_NAME) this.#remove(name);
    return bytes;
  }

  #removeOldest(): void {
    const templates = this.#names().filter(isTemplate);
    const byAge = templates
      .map((name) => ({ name, age: ageMs(join(this.#folder, name)) ?? 0 }))
      .sort((a, b) => a.age - b.age);
    for (const { name } of byAge.slice(TEMPLATES_MAX)) this.#remove(name);
  }

  #remove(name: string): void {
    rmSync(join(this.#folder, name), { recursive: true, force: true });
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder);
    } catch {
      return [];
    }
  }

  /** Undefined while another process holds it, or if there is no folder. It ends with its process. */
  #lock(): Disposable | undefined {
    let fd: number;
    try {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
      fd = openSync(join(this.#folder, LOCK_NAME), flags, 0o600);
    } catch {
      return undefined;
    }
    if (tryLockFile(hostFiles(), fd, true, 0, 0)) {
      return { [Symbol.dispose]: () => closeSync(fd) };
    }
    closeSync(fd);
    return undefined;
  }

  #folderOf(key: string): string | undefined {
    const name = this.#names().find((each) => isTemplate(each) && each.startsWith(key));
    return name && join(this.#folder, name);
  }

  #failurePath(key: string): string {
    return join(this.#folder, key + FAILED_SUFFIX);
  }

  /** Undefined if what a template depends on cannot be told. */
  #keyOf(shape: TemplateShape): string | undefined {
    const { emptyLayer, guest } = shape;
    const { agentPath, kernelPath, modulesPath } = guest;
    try {
      const root = packageRoot();
      const key = JSON.stringify([
        shape,
        [kernelPath, agentPath, modulesPath, emptyLayer?.imagePath, emptyLayer?.fileSystemPath]
          .filter((path) => path !== undefined)
          .map(identityOf),
        CODE_FILES.map((path) => codeIdentity(join(root, path))),
        process.versions.node,
        // The TSC of kvm-pvm's guests is the host's; and a host's KVM changes with its kernel.
        readFileSync('/proc/sys/kernel/random/boot_id', 'latin1'),
      ]);
      return sha256(key).toString('hex').slice(0, KEY_DIGITS);
    } catch {
      return undefined;
    }
  }
}

/** The image of the writable disk that the saved machine has mounted, if it has; see `EmptyLayer`. */
export function layerPath(folder: string): string {
  return join(folder, 'layer');
}

const isTemplate = (name: string) => /^[0-9a-f]{32}$/.test(name);

/** ctime cannot be set back, so a changed file never keeps its identity. */
function identityOf(path: string): string {
  const { ctimeNs, dev, ino, mtimeNs, size } = statSync(path, { bigint: true });
  return `${dev}-${ino}-${size}-${mtimeNs}-${ctimeNs}`;
}

function codeIdentity(path: string): string | undefined {
  try {
    return identityOf(path);
  } catch {
    return undefined;
  }
}

function ageMs(path: string): number | undefined {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return undefined;
  }
}

function allocatedBytes(path: string): number {
  try {
    return statSync(path).blocks * 512;
  } catch {
    return 0;
  }
}
