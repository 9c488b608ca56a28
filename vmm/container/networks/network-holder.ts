/**
 * The process that holds a network: it makes the bridge, and removes it when the last member has gone. For
 * root, the bridge is in the host's network namespace, as Docker's are. For other users it is in a user
 * and network namespace.
 */
import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import type { NetworkFolder } from './network-folder.ts';
import type { NetworkRecord } from './network-store.ts';

/** ip(8) may be outside of PATH for users other than root. */
const SYSTEM_PATH = '/usr/sbin:/sbin:/usr/bin:/bin';
const START_TIMEOUT_MS = 10_000;
const ERROR_CHARACTERS_MAX = 2_000;
/** How long a writer of the FIFO that is not one any more may look like one, in s. */
const LAST_LOOK_S = 0.05;

/**
 * $0: the folder; then the bridge, its address with prefix length, and where the bridge is: `host` or
 * `own`. Says its PID when the network is there, and waits for the end of its input: whoever starts it
 * is a member by then. A bridge that a killed holder has left is taken over.
 *
 * The first program that it starts reads the FIFO until its end. The name is then moved away, so that
 * nobody can open it, and a second look tells whether somebody has done so in between.
 *
 * The bridge forwards nothing: traffic with the outside goes by user-mode interfaces of the containers.
 */
const HOLDER_SCRIPT = `
set -e
folder=$0 bridge=$1 address=$2 place=$3
read -r pid _ </proc/self/stat
ip link add "$bridge" type bridge 2>/dev/null || ip link show "$bridge" >/dev/null
ip address replace "$address" dev "$bridge"
for family in ipv4 ipv6; do
  echo 0 >"/proc/sys/net/$family/conf/$bridge/forwarding" 2>/dev/null || :
done
echo 1 >"/proc/sys/net/ipv6/conf/$bridge/disable_ipv6" 2>/dev/null || :
ip link set "$bridge" up
exec 4<>"$folder/members"
exec 5<"$folder/members"
echo "$pid"
read -r _ || :
exec </dev/null >/dev/null 2>&1 4<&-
while :; do
  cat <&5 || :
  mv "$folder/members" "$folder/leaving"
  if timeout ${LAST_LOOK_S} cat <&5; then break; fi
  mv "$folder/leaving" "$folder/members"
done
[ "$place" = own ] || ip link delete "$bridge" || :
rm -f "$folder/leaving"
`;

export function bridgeName({ id }: Pick<NetworkRecord, 'id'>): string {
  return `br-${id.slice(0, 12)}`;
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** @throws TsvmError `network-unavailable` that names the package */
function checkProgram(path: string): void {
  if (path.split(delimiter).some((folder) => isExecutable(join(folder, 'ip')))) return;
  throw new TsvmError(
    'network-unavailable',
    'networks need the program ip. As root: apt-get install iproute2',
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** In a PID namespace of its own, so that the programs that it starts end with it, however it ends. */
function command(script: readonly string[]): string[] {
  const namespaces = isRoot() ? [] : ['--user', '--map-root-user', '--net'];
  const processes = ['--pid', '--fork', '--kill-child'];
  return ['unshare', ...namespaces, ...processes, '--', 'sh', '-c', HOLDER_SCRIPT, ...script];
}

/**
 * Starts the holder of a network that nobody holds. The caller has the folder's lock.
 * @returns the descriptor of the first membership
 * @throws TsvmError `network-unavailable`
 */
export async function startHolder(network: NetworkRecord, folder: NetworkFolder): Promise<number> {
  const path = [process.env['PATH'] ?? '', SYSTEM_PATH].join(delimiter);
  checkProgram(path);
  rmSync(folder.leaving, { force: true });
  if (!existsSync(folder.members)) execFileSync('mkfifo', ['-m', '600', folder.members]);
  const place = isRoot() ? 'host' : 'own';
  const address = `${network.gateway}/${folder.prefixLength}`;
  const [program = '', ...words] = command([folder.path, bridgeName(network), address, place]);
  const child = spawn(program, words, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path },
    cwd: '/',
    // It outlives this process, which may not be the last member.
    detached: true,
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let output = '';
  let errors = '';
  const fail = (reason: string) =>
    reject(
      new TsvmError(
        'network-unavailable',
        `the network ${network.name} cannot be set up: ${reason}`,
      ),
    );
  const timer = setTimeout(() => fail('its programs do not answer'), START_TIMEOUT_MS);
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (/^\d+\n/.test(output)) resolve(Number.parseInt(output, 10));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-ERROR_CHARACTERS_MAX);
  });
  child.once('error', (error) => fail(error.message));
  child.once('close', (code) => fail(errors.trim().split('\n').at(-1) || `exit code ${code}`));
  try {
    const pid = await promise;
    folder.writeHolder({ namespacePid: isRoot() ? 0 : pid });
    const fd = folder.openMembership();
    if (fd === undefined) throw new Error('the holder of a network has no FIFO');
    return fd;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    clearTimeout(timer);
    child.stdin.destroy();
    child.stdout.destroy();
    child.stderr.destroy();
    child.unref();
  }
}

/** Removes the bridge that a killed holder has left, if there is one. */
export function removeBridge(network: Pick<NetworkRecord, 'id'>): void {
  if (!isRoot()) return;
  try {
    execFileSync('ip', ['link', 'delete', bridgeName(network)], {
      stdio: 'pipe',
      env: { ...process.env, PATH: [process.env['PATH'] ?? '', SYSTEM_PATH].join(delimiter) },
    });
  } catch {
    // There is none.
  }
}
