/** The sandbox of the process; `kvm-addon/src/sandbox/README.md` explains it. */
import { lstatSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { fsPath } from '../util/byte-names.ts';
import { loadAddon } from './addon.ts';

/**
 * From now on, the threads of vCPUs and queue workers of this process run under a seccomp filter each. A
 * forbidden system call ends the process with code 125 and a message that names it. Idempotent.
 * @throws TsvmError `sandbox-unavailable`
 */
export function confineThreads(): void {
  try {
    loadAddon().confineThreads();
  } catch (cause) {
    throw unavailable(cause);
  }
}

/** What may be done with a path and what is below it; the numbers are those of `sandbox_types.h`. */
const ACCESS = {
  read: 0,
  /** Read and write what there is. */
  write: 1,
  /** The same with ioctl(2). */
  terminal: 2,
  /** The same as `write`, and make and remove files, folders and sockets. */
  own: 3,
  /** Remove empty folders. */
  'empty-folders': 4,
  /** Connect to sockets. */
  connect: 5,
} as const;

/** A path that a process may still use in its sandbox, where it exists. */
export interface SandboxPath {
  readonly path: string;
  readonly access: keyof typeof ACCESS;
}

/** What a process needs after its machine has been set up. */
export interface ProcessNeeds {
  /** Connect to sockets in the file system: the guest reaches listeners by virtio-vsock. */
  readonly connects: boolean;
  /** Files to open; those that are open already need not be here. */
  readonly paths: readonly SandboxPath[];
  /**
   * As root, where Landlock is: the user and group id to have from now on, no other process's. 0: the
   * user stays.
   */
  readonly user: number;
  /** That user may write the paths, and connect to sockets, whoever's they are. */
  readonly writes: boolean;
}

/** What the kernel has granted. */
export interface SandboxReport {
  /** Only the given paths can be opened (Landlock). */
  readonly files: boolean;
  /** The process has network and IPC namespaces of its own. */
  readonly namespaces: boolean;
  /** Other paths than the given ones are not there (a mount namespace). */
  readonly view: boolean;
}

/**
 * Confines the whole process for good, as {@link confineThreads} does its machines' threads: it starts no
 * more programs, opens no network sockets and no other files, touches no other process. Call it when a
 * machine is set up and before it starts.
 * @throws TsvmError `sandbox-unavailable`, also if a confined machine has already run
 */
export function confineProcess({ connects, paths, user, writes }: ProcessNeeds): SandboxReport {
  try {
    return loadAddon().confineProcess({
      connects,
      user,
      writes,
      paths: nativePaths(paths),
    });
  } catch (cause) {
    throw unavailable(cause);
  }
}

/**
 * Begins work for {@link confineProcess} with a `user` and these paths on another thread, which is done
 * when a machine has been set up.
 * @throws TsvmError `sandbox-unavailable`
 */
export function beginConfinement(paths: readonly SandboxPath[]): void {
  try {
    loadAddon().beginNamespaces(nativePaths(paths));
  } catch (cause) {
    throw unavailable(cause);
  }
}

function nativePaths(paths: readonly SandboxPath[]) {
  return paths.map(({ path, access }) => ({ path: fsPath(path), access: ACCESS[access] }));
}

/** What this kernel has for sandboxes. */
export function probeSandbox(): { readonly seccomp: boolean; readonly landlockVersion: number } {
  return loadAddon().probeSandbox();
}

/**
 * Removes files that this process may not remove itself in its sandbox, when it ends, however it ends: a
 * shell outside of the sandbox waits for that.
 */
export class Cleaner {
  readonly #native: { readonly pid: number; readonly fd: number };
  #finished = false;

  /**
   * @param folder removed if it is empty
   * @param files removed, unless other files have their names then
   * @throws NativeError
   */
  constructor(folder: string | undefined, files: readonly string[]) {
    const pairs = files.flatMap((path) => {
      const { dev, ino } = lstatSync(fsPath(path));
      return [`${dev}:${ino}`, fsPath(path)];
    });
    this.#native = loadAddon().startCleaner([folder === undefined ? '' : fsPath(folder), ...pairs]);
  }

  /** Removes the files now. Idempotent. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    loadAddon().finishCleaner(this.#native);
  }
}

function unavailable(cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError(
    'sandbox-unavailable',
    `the sandbox cannot be set up (${reason}): "tsvm doctor" tells what this host offers; ` +
      '--sandbox off runs the machine without it',
    { cause },
  );
}
