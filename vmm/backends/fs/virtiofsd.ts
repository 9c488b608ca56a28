import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, mkdtempSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { connectUnix, listenUnix } from '../../host/unix-sockets.ts';
import { printable } from '../../util/printable.ts';
import type { VhostUserProcess } from '../vhost-user/backend.ts';

/** Where distributions put it: outside PATH, as it is no command for users. */
const PLACES = [
  '/usr/libexec/virtiofsd', // Debian 13, Fedora
  '/usr/lib/virtiofsd', // Arch
  '/usr/lib/qemu/virtiofsd', // Debian 12
];

/** How long the process may take to end by itself once its connection is closed. */
const END_TIMEOUT_MS = 1_000;

export interface SharedFolder {
  /** Absolute. */
  readonly path: string;
  readonly readOnly: boolean;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** @throws TsvmError `backend-failed` when it is not installed */
export function findVirtiofsd(): string {
  const inPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const candidates = [...inPath.map((folder) => join(folder, 'virtiofsd')), ...PLACES];
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  throw new TsvmError(
    'backend-failed',
    'sharing a folder needs virtiofsd, which is not installed: install the package virtiofsd ' +
      '(in Debian 12: qemu-system-common)',
  );
}

/** The one in C that came with QEMU until version 7, or its successor in Rust. */
type Flavour = 'c' | 'rust';

function flavourOf(program: string): Flavour {
  const text = execFileSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  return text.includes('Bellard') ? 'c' : 'rust';
}

/** Descriptor of the listening socket in the process. */
const LISTENER_FD = 3;

const FLAVOUR_ARGUMENTS: Readonly<Record<Flavour, (path: string) => string[]>> = {
  // A comma would end the path.
  c: (path) => ['-f', '-o', `source=${path}`, '-o', 'cache=auto,xattr,log_level=err'],
  rust: (path) => ['--shared-dir', path, '--xattr', '--log-level', 'error'],
};

/** Makes the folder read-only for the program, whatever that can do itself. $0 is the folder. */
const READ_ONLY_SCRIPT =
  'mount --bind -- "$0" "$0" && mount -o remount,bind,ro -- "$0" && exec "$@"';

/**
 * The command that shares a folder. virtiofsd confines itself to the folder in mount, pid and network
 * namespaces; other users than root need a user namespace for that, in which they are root.
 */
function command(program: string, flavour: Flavour, folder: SharedFolder): string[] {
  const own = [program, `--fd=${LISTENER_FD}`, ...FLAVOUR_ARGUMENTS[flavour](folder.path)];
  const isRoot = process.geteuid?.() === 0;
  const namespaces = [
    ...(isRoot ? [] : ['--map-root-user']),
    ...(folder.readOnly ? ['--mount'] : []),
  ];
  const inside = folder.readOnly ? ['sh', '-c', READ_ONLY_SCRIPT, folder.path, ...own] : own;
  return namespaces.length === 0 ? inside : ['unshare', ...namespaces, '--', ...inside];
}

/** A listening socket with one connection to it, and no file. */
function listenerAndConnection(): { listener: number; connection: number } {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-share-'));
  const path = join(folder, 's');
  try {
    const listener = listenUnix(path);
    try {
      return { listener, connection: connectUnix(path) };
    } catch (error) {
      closeSync(listener);
      throw error;
    } finally {
      unlinkSync(path);
    }
  } finally {
    rmdirSync(folder);
  }
}

/** A virtiofsd for one folder, which can be started again and again. */
export class Virtiofsd {
  readonly #folder: SharedFolder;
  readonly #program: string;
  readonly #flavour: Flavour;
  readonly #onLine: (line: string) => void;

  /**
   * @param onLine is given what the process writes to stderr
   * @throws TsvmError `backend-failed` when it is not installed
   */
  constructor(folder: SharedFolder, onLine: (line: string) => void) {
    this.#folder = folder;
    this.#program = findVirtiofsd();
    this.#flavour = flavourOf(this.#program);
    this.#onLine = onLine;
    if (this.#flavour === 'c' && folder.path.includes(',')) {
      throw new TsvmError(
        'backend-failed',
        `${this.#program} cannot share ${folder.path}, because of the comma in the path`,
      );
    }
  }

  launch(): VhostUserProcess {
    const { listener, connection } = listenerAndConnection();
    const [program = '', ...programArguments] = command(this.#program, this.#flavour, this.#folder);
    // A process group of its own: a Ctrl-C in the terminal is for tsvm.
    const child = spawn(program, programArguments, {
      stdio: ['ignore', 'ignore', 'pipe', listener],
      detached: true,
    });
    closeSync(listener);
    this.#follow(child);
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    const kill = async () => {
      child.ref();
      // What it says of the end of its connection is no news.
      child.stderr?.removeAllListeners('data').resume();
      // The closed connection ends it; it then reaps its child, which is in another pid namespace.
      const timer = setTimeout(() => child.kill('SIGKILL'), END_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    };
    return { fd: connection, kill };
  }

  #follow(child: ChildProcess): void {
    let rest = '';
    child.once('error', (error) =>
      this.#onLine(`${this.#program} does not start: ${error.message}`),
    );
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      // Bounded, should a line never end.
      rest = (lines.pop() ?? '').slice(-1000);
      for (const line of lines) this.#onLine(printable(line));
    });
    child.unref();
    (child.stderr as { unref?: () => void } | null)?.unref?.();
  }
}
