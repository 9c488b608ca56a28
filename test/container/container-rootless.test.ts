/** Containers of an ordinary user, who has nothing but the devices that a host's administrator gives. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, chownSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { busyboxMembers } from '../support/agent-guest.ts';
import { ContainerShell, type ShellResult } from '../support/container-shell.ts';
import { freePort } from '../support/free-port.ts';
import { makeImage, writeLayout } from '../support/image-maker.ts';
import { makeTar } from '../support/tar-maker.ts';

/** No user of the host has it. */
const USER_ID = 54_321;
const FIRST_SUBORDINATE_ID = 1_000_000;
const PATIENCE_MS = 180_000;

// Of a host where the tests are root: the user is made for them. Otherwise it is who runs them.
const isRoot = process.getuid?.() === 0;
const shell = new ContainerShell();
const home = join(shell.folder, 'home');

/**
 * A mount namespace where the user exists and may open the devices; nothing of the host is changed.
 * What a login gives the user is set: HOME and XDG_RUNTIME_DIR.
 */
const ENTER = `
set -e
mount --make-rprivate /
for device in kvm net/tun; do
  node=$(mktemp -p "$FOLDER")
  rm "$node"
  mknod -m 600 "$node" c $(stat -c '0x%t 0x%T' /dev/$device)
  chown ${USER_ID}:${USER_ID} "$node"
  mount --bind "$node" /dev/$device
done
mount --bind "$FOLDER/etc" /etc
exec setpriv --reuid ${USER_ID} --regid ${USER_ID} --clear-groups \\
  env -u TSVM_DATA_FOLDER -u TSVM_RUNTIME_FOLDER -u XDG_DATA_HOME -u XDG_CACHE_HOME HOME=${home} \\
  XDG_RUNTIME_DIR=${home}/run sh -c "$LINE"
`;

async function sh(line: string, timeoutMs = PATIENCE_MS): Promise<ShellResult> {
  const words = isRoot ? ['unshare', '-m', 'sh', '-c', ENTER] : ['sh', '-c', line];
  const [program = '', ...args] = words;
  const child = spawn(program, args, {
    cwd: home,
    env: { ...shell.env, LINE: line, FOLDER: shell.folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = Promise.all([
    child.stdout.setEncoding('utf8').toArray(),
    child.stderr.setEncoding('utf8').toArray(),
  ]);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  const [stdout = '', stderr = ''] = (await output).map((pieces) => pieces.join(''));
  return { stdout, stderr, code: code ?? 255 };
}

async function ok(line: string): Promise<string> {
  const { code, stderr, stdout } = await sh(line);
  if (code === 0) return stdout;
  throw new Error(`${line}: exit code ${code}\n${stdout}\n${stderr}`);
}

/** In a copy of /etc. */
function addUser(): void {
  const etc = join(shell.folder, 'etc');
  execFileSync('cp', ['-a', '/etc', etc]);
  appendFileSync(join(etc, 'passwd'), `ordinary:x:${USER_ID}:${USER_ID}::${home}:/bin/sh\n`);
  for (const name of ['subuid', 'subgid']) {
    appendFileSync(join(etc, name), `ordinary:${FIRST_SUBORDINATE_ID}:65536\n`);
  }
}

before(async () => {
  chmodSync(shell.folder, 0o755);
  if (isRoot) addUser();
  for (const folder of [home, join(home, 'run'), join(home, 'shared')]) {
    mkdirSync(folder, { mode: 0o700 });
    if (isRoot) chownSync(folder, USER_ID, USER_ID);
  }
  const layout = join(shell.folder, 'layout');
  mkdirSync(layout);
  const image = makeImage({ layers: [makeTar(busyboxMembers())], run: { Cmd: ['sh'] } });
  writeLayout(layout, image);
  await ok(`tsvm load -q -i ${layout} && tsvm tag ${image.config} box`);
});
after(async () => {
  await sh('tsvm rm -f $(tsvm ps -aq); tsvm network prune -f; true');
  await shell.close();
});

test('an ordinary user: run, output, exit code, nothing left; files are in the own folders', async () => {
  assert.deepEqual(await sh(`tsvm run --rm box sh -c 'id -u; echo err >&2; exit 7'`), {
    stdout: '0\n',
    stderr: 'err\n',
    code: 7,
  });
  assert.equal(await ok('tsvm ps -aq'), '');
  assert.equal(
    statSync(join(home, '.local/share/tsvm')).uid,
    isRoot ? USER_ID : process.getuid?.(),
  );
  await ok('tsvm run -d --name kept box sleep 1000');
  assert.equal(await ok('ls $XDG_RUNTIME_DIR/tsvm/containers | wc -l'), '1\n');
  assert.equal(await ok('tsvm exec kept echo here'), 'here\n');
  assert.equal(await ok('tsvm stop -t 0 kept && tsvm rm kept'), 'kept\nkept\n');
});

test('an ordinary user: files of several owners in a bound folder', async () => {
  const line =
    'echo x > /data/own; echo x > /data/other; chown 33:44 /data/other; stat -c %u:%g /data/*';
  assert.equal(
    await ok(`tsvm run --rm -v ${home}/shared:/data box sh -c '${line}'`),
    '33:44\n0:0\n',
  );
  if (!isRoot) return;
  const shared = (name: string) => statSync(join(home, 'shared', name));
  assert.equal(shared('own').uid, USER_ID, 'root of the container is the user');
  assert.equal(shared('other').uid, FIRST_SUBORDINATE_ID + 32);
});

test('an ordinary user: a published port, and a network with names', async () => {
  const port = await freePort();
  const serve = `sh -c 'echo page > /tmp/index.html; httpd -f -p 80 -h /tmp'`;
  const fetchUntil = (command: string) =>
    `for i in $(seq 500); do ${command} && break; sleep 0.1; done`;
  await ok(
    `tsvm network create front && tsvm run -d --name site --network front -p ${port}:80 box ${serve}`,
  );
  assert.equal(await ok(fetchUntil(`curl -sf http://127.0.0.1:${port}/index.html`)), 'page\n');
  const get = `printf "GET /index.html HTTP/1.0\\r\\n\\r\\n" | timeout 5 nc site 80 | tail -n 1`;
  assert.equal(await ok(`tsvm run --rm --network front box sh -c '${get}'`), 'page\n');
  await ok('tsvm rm -f site && tsvm network rm front');
});
