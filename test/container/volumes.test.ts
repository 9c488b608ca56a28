/** Mounts of containers in real machines: folders, files, named volumes, tmpfs, unix sockets. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { MachinePart } from '../../vmm/container/containers/machine-part.ts';
import { prepareVolumes, resolveMounts } from '../../vmm/container/volumes/container-volumes.ts';
import { type MountOptions, parseMountFlags } from '../../vmm/container/volumes/resolve-mounts.ts';
import { type AgentGuest, bootAgentGuest, busyboxMembers } from '../support/agent-guest.ts';
import type { MadeMember } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

/** Data and runtime folders of the test's own, for code in this process. */
function ownFolders(t: TestContext): string {
  const folder = temporaryFolder(t);
  const own = { TSVM_DATA_FOLDER: join(folder, 'data'), TSVM_RUNTIME_FOLDER: join(folder, 'run') };
  const before = Object.keys(own).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, own);
  t.after(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  return folder;
}

const NOTHING: MountOptions = {
  volumes: [],
  mounts: [],
  tmpfs: [],
  volumesFrom: [],
};

interface Started extends AgentGuest {
  readonly part: MachinePart;
}

/** A machine with these mounts, assembled. */
async function start(
  t: TestContext,
  options: Partial<MountOptions>,
  members: readonly MadeMember[] = [],
): Promise<Started> {
  const flags = parseMountFlags({ ...NOTHING, ...options }, process.cwd());
  const specs = await resolveMounts(flags, [], () => []);
  const part = await prepareVolumes({ mounts: specs });
  t.after(() => part.release?.());
  const guest = await bootAgentGuest(t, {
    members: busyboxMembers(members),
    machine: { shares: part.shares ?? [] },
  });
  part.started?.(guest.machine);
  await guest.agent.assemble({ ...guest.root, mounts: part.mounts ?? [] });
  part.assembled?.(guest.machine, guest.agent);
  await guest.agent.startProcess({ args: ['sleep', '3600'], env: ['PATH=/bin'] });
  return { ...guest, part };
}

async function shell(guest: AgentGuest, script: string): Promise<string> {
  const { end, stderr, stdout } = await guest.run(['sh', '-c', script]);
  assert.deepEqual({ end, stderr }, { end: { exitCode: 0 }, stderr: '' }, `${script}: ${stdout}`);
  return stdout;
}

test('folders and single files keep true owners, and the guest has nothing beside them', async (t) => {
  const folder = ownFolders(t);
  const shared = join(folder, 'shared');
  mkdirSync(join(shared, 'sub'), { recursive: true });
  writeFileSync(join(shared, 'given'), 'from the host');
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) chownSync(join(shared, 'given'), 1234, 4321);
  symlinkSync('../secret', join(shared, 'way-out'));
  writeFileSync(join(folder, 'secret'), 'secret');
  for (const name of ['one', 'two']) writeFileSync(join(folder, name), name);
  chmodSync(join(folder, 'one'), 0o640);
  const guest = await start(t, {
    volumes: [
      `${shared}:/shared`,
      `${shared}:/shared-ro:ro`,
      `${folder}/one:/etc/one`,
      `${folder}/two:/etc/two:ro`,
      `${folder}/new/folder:/new`,
    ],
  });
  assert.equal(
    await shell(guest, 'stat -c %u:%g:%a /shared/given /etc/one'),
    isRoot ? '1234:4321:644\n0:0:640\n' : '0:0:644\n0:0:640\n',
  );
  await shell(
    guest,
    'echo guest >/shared/sub/made; chown 77:88 /shared/sub/made; chmod 4750 /shared/sub/made',
  );
  const made = statSync(join(shared, 'sub/made'));
  assert.equal(made.mode & 0o7777, 0o4750);
  // For others than root, owners are users of their user namespace.
  if (isRoot) assert.deepEqual([made.uid, made.gid], [77, 88]);
  assert.equal(await shell(guest, 'stat -c %u:%g /shared/sub/made'), '77:88\n');
  assert.ok(statSync(join(folder, 'new/folder')).isDirectory(), 'a missing folder is made');

  await shell(guest, 'printf changed >/etc/one; test "$(cat /etc/two)" = two');
  assert.equal(readFileSync(join(folder, 'one'), 'utf8'), 'changed');
  const refused = await guest.run([
    'sh',
    '-c',
    'echo x >/etc/two; echo x >/shared-ro/x; rm /shared-ro/given',
  ]);
  assert.match(refused.stderr, /Read-only file system/);
  assert.deepEqual(readFileSync(join(folder, 'two'), 'utf8'), 'two');
  assert.ok(existsSync(join(shared, 'given')) && !existsSync(join(shared, 'x')));
  const away = await guest.run(['cat', '/shared/way-out']);
  assert.match(away.stderr, /No such file/);
});

test('root in the guest, outside of the container, cannot write to what is read-only on the host', async (t) => {
  const folder = ownFolders(t);
  writeFileSync(join(folder, 'file'), 'host');
  mkdirSync(join(folder, 'folder'));
  const guest = await start(t, {
    volumes: [`${folder}/file:/file:ro`, `${folder}/folder:/folder:ro`],
  });
  const script = [
    'mkdir -p /m && mount -t virtiofs tsvm-mounts /m',
    'for i in /m/0 /m/1/new /m/other; do echo x >$i; done',
    'mkdir /m/folder; rm -rf /m/0; mount -o remount,rw /m; echo x >/m/0; ls -a /m /m/..',
  ].join('\n');
  const { stderr, stdout } = await guest.run(['sh', '-c', script], { privileged: true });
  assert.match(stdout, /^\/m:\n\.\n\.\.\n0\n1\n/m, 'the share is mounted');
  assert.match(stderr, /Read-only file system|Operation not permitted|Resource busy/);
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'host');
  assert.deepEqual(readdirSync(join(folder, 'folder')), []);
  assert.deepEqual(
    readdirSync(join(folder, 'run/share')),
    [],
    'nothing is left in the mount point',
  );
});

test('tmpfs has its size, mode and flags', async (t) => {
  ownFolders(t);
  const guest = await start(t, {
    tmpfs: ['/small:size=1m,mode=700,exec'],
    mounts: ['type=tmpfs,dst=/other,tmpfs-size=2m'],
  });
  assert.equal(await shell(guest, 'stat -c %a /small /other'), '700\n1777\n');
  const mounts = await shell(guest, 'grep -E " /(small|other) " /proc/mounts');
  assert.match(mounts, /\/small tmpfs rw,nosuid,nodev,.*size=1024k/);
  assert.match(mounts, /\/other tmpfs rw,nosuid,nodev,noexec,.*size=2048k/);
});
