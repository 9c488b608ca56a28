import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { connectUnix, listenUnix } from '../../host/unix-sockets.ts';
import { hasSubordinateIds, userNamespace } from '../../host/user-namespace.ts';
import { printable } from '../../util/printable.ts';
import type { VhostUserProcess } from '../vhost-user/backend.ts';

/** Distributions install it outside PATH, because users do not run it as a command. */
const PLACES = [
  '/usr/libexec/virtiofsd', // Debian 13, Fedora
  '/usr/lib/virtiofsd', // Arch
  '/usr/lib/qemu/virtiofsd', // Debian 12
];

/** Time for the process to exit by itself after its connection has been closed. */
const END_TIMEOUT_MS = 1_000;

export interface SharedFolder {
  /** Absolute. */
  readonly path: string;
  readonly readOnly: boolean;
}

/** A file or folder in a {@link SharedTree}. */
export interface SharedEntry {
  /** A file name without "/". */
  readonly name: string;
  /** Absolute. A link is followed. Mounts below it are shared as well. */
  readonly path: string;
  readonly kind: 'file' | 'folder';
  readonly readOnly: boolean;
}

/** A read-only folder that exists only in the guest and contains files and folders of the host. */
export interface SharedTree {
  readonly entries: readonly SharedEntry[];
  /** An empty folder, where the tree is mounted in virtiofsd's mount namespace. No entry is below it. */
  readonly mountPoint: string;
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

/** The C implementation, which QEMU included until version 7, or its successor in Rust. */
type Flavour = 'c' | 'rust';

function flavourOf(program: string): Flavour {
  // The one in C cannot be asked by users with supplementary groups, which it drops first of all.
  if (basename(dirname(program)) === 'qemu') return 'c';
  const text = execFileSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  return text.includes('Bellard') ? 'c' : 'rust';
}

/**
 * The one in C drops supplementary groups, which needs a user namespace with several groups.
 * @throws TsvmError `backend-failed`
 */
function checkGroups(flavour: Flavour): void {
  const isRoot = process.geteuid?.() === 0;
  if (flavour === 'rust' || isRoot || hasSubordinateIds()) return;
  // Node's list also contains the process's own group.
  if (/^Groups:\s*$/m.test(readFileSync('/proc/self/status', 'utf8'))) return;
  throw new TsvmError(
    'backend-failed',
    'sharing files needs subordinate users and groups, as this user is in groups. As root: ' +
      'apt-get install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER',
  );
}

/** Descriptor of the listening socket in the process. */
const LISTENER_FD = 3;

const FLAVOUR_ARGUMENTS: Readonly<Record<Flavour, (path: string) => string[]>> = {
  // virtiofsd's socket option would end the path at a comma.
  c: (path) => [
    '-f',
    '-o',
    `source=${path}`,
    '-o',
    'cache=auto,xattr,announce_submounts,log_level=err',
  ],
  rust: (path) => [
    ...['--shared-dir', path, '--xattr', '--announce-submounts'],
    ...['--log-level', 'error'],
  ],
};

/** Makes the folder $0 read-only for the program, whatever virtiofsd itself supports. */
const READ_ONLY_SCRIPT =
  'mount --bind -- "$0" "$0" && mount -o remount,bind,ro -- "$0" && exec "$@"';

/**
 * Makes a {@link SharedTree} at $0 of name, kind, access and path of each entry, for the program after
 * `--`. A file system in memory has the names; it is read-only, so that the guest cannot fill it.
 * A mount in a user namespace keeps restrictions such as nosuid, which have to be repeated.
 */
const TREE_SCRIPT = `
set -e
read_only() {
  for more in '' ,nosuid ,nosuid,nodev ,nosuid,nodev,noexec; do
    if mount -o "remount,bind,ro$more" -- "$1" 2>/dev/null; then return; fi
  done
  echo "$1 cannot be made read-only" >&2
  exit 1
}
mount -t tmpfs -o mode=755,size=1m tsvm "$0"
while [ "$1" != -- ]; do
  target=$0/$1
  if [ "$2" = file ]; then : >"$target"; else mkdir -- "$target"; fi
  mount --rbind -- "$4" "$target"
  if [ "$3" = ro ]; then
    count=0
    while read -r _ _ _ _ point _; do
      case $point in
      "$target" | "$target"/*)
        read_only "$(printf %b "$point")"
        count=$((count + 1))
        ;;
      esac
    done </proc/self/mountinfo
    [ $count -gt 0 ]
  fi
  shift 4
done
shift
read_only "$0"
exec "$@"
`;

/** What is shared, for virtiofsd: the folder it is at, and how that comes to be. */
interface ShareSource {
  readonly path: string;
  /** Options of unshare(1). */
  readonly namespaces: readonly string[];
  /** The words before virtiofsd's command. */
  readonly preparation: readonly string[];
}

function sourceOf(share: SharedFolder | SharedTree): ShareSource {
  if ('path' in share) {
    const { path, readOnly } = share;
    if (!readOnly) return { path, namespaces: [], preparation: [] };
    return { path, namespaces: ['--mount'], preparation: ['sh', '-c', READ_ONLY_SCRIPT, path] };
  }
  const entries = share.entries.flatMap(({ kind, name, path, readOnly }) => {
    return [name, kind, readOnly ? 'ro' : 'rw', path];
  });
  return {
    path: share.mountPoint,
    namespaces: ['--mount'],
    preparation: ['sh', '-c', TREE_SCRIPT, share.mountPoint, ...entries, '--'],
  };
}

/**
 * The command that shares a folder. virtiofsd confines itself to the folder by mount, PID and network
 * namespaces. Users other than root need a user namespace for that, in which they are root.
 */
function command(program: string, flavour: Flavour, share: SharedFolder | SharedTree): string[] {
  const { namespaces, path, preparation } = sourceOf(share);
  const own = [program, `--fd=${LISTENER_FD}`, ...FLAVOUR_ARGUMENTS[flavour](path)];
  const isRoot = process.geteuid?.() === 0;
  const all = [...(isRoot ? [] : userNamespace()), ...namespaces];
  const inside = [...preparation, ...own];
  return all.length === 0 ? inside : ['unshare', ...all, '--', ...inside];
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

/** A virtiofsd for one folder or tree. It can be started repeatedly. */
export class Virtiofsd {
  readonly #share: SharedFolder | SharedTree;
  readonly #program: string;
  readonly #flavour: Flavour;
  readonly #onLine: (line: string) => void;

  /**
   * @param onLine called with each line that the process writes to stderr
   * @throws TsvmError `backend-failed` when it is not installed
   */
  constructor(share: SharedFolder | SharedTree, onLine: (line: string) => void) {
    this.#share = share;
    this.#program = findVirtiofsd();
    this.#flavour = flavourOf(this.#program);
    checkGroups(this.#flavour);
    this.#onLine = onLine;
    const { path } = sourceOf(share);
    if (this.#flavour === 'c' && path.includes(',')) {
      throw new TsvmError(
        'backend-failed',
        `${this.#program} cannot share ${path}, because of the comma in the path`,
      );
    }
  }

  launch(): VhostUserProcess {
    const { listener, connection } = listenerAndConnection();
    const [program = '', ...programArguments] = command(this.#program, this.#flavour, this.#share);
    // In its own process group, so that Ctrl-C in the terminal does not reach it.
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
      // Its message about the closed connection is not worth logging.
      child.stderr?.removeAllListeners('data').resume();
      // The process exits when its connection is closed, and reaps its child, which is in another PID
      // namespace.
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
      // Bounded, because a line may never end.
      rest = (lines.pop() ?? '').slice(-1000);
      for (const line of lines) this.#onLine(printable(line));
    });
    child.unref();
    (child.stderr as { unref?: () => void } | null)?.unref?.();
  }
}
