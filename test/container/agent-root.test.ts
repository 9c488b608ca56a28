/** What a container's root is made of: mounts, sockets, network, sysctls, its first process. */
import { deepEqual, equal, match, rejects } from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import type { ProcessSpec } from '../../vmm/container/agent/agent.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import {
  type AgentGuest,
  bootAgentGuest,
  busyboxMembers,
  writableDisk,
} from '../support/agent-guest.ts';
import { compileGuestProgram } from '../support/initrd.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const CLIENT_SOURCE = join(packageRoot(), 'test/support/guest-programs/unix_client.c');

async function stdoutOf(guest: AgentGuest, script: string, spec?: Partial<ProcessSpec>) {
  const result = await guest.run(['sh', '-c', script], spec);
  equal(result.stderr, '');
  deepEqual(result.end, { exitCode: 0 });
  return result.stdout.trim();
}

test('what a container writes is there in the next machine with its disk', async (t) => {
  const writablePath = writableDisk(temporaryFolder(t));
  const first = await bootAgentGuest(t, { writablePath });
  await first.agent.assemble(first.root);
  await stdoutOf(first, 'echo kept > /file; rm /etc/group; mkdir -p /a/b; pwd', {
    cwd: '/new/dir',
  });
  await first.agent.shutdown();
  await first.machine.ended;
  await first.machine.close();
  const second = await bootAgentGuest(t, { writablePath });
  await second.agent.assemble(second.root);
  equal(
    await stdoutOf(
      second,
      'cat /file; ls -d /etc/group /a/b /new/dir 2>/dev/null | tr "\\n" " "; true',
    ),
    'kept\n/a/b /new/dir',
  );
});

test('an image that is one program, and one whose folders are links', async (t) => {
  const busybox = readFileSync('/bin/busybox');
  const single = await bootAgentGuest(t, {
    members: [{ name: 'busybox', mode: 0o755, data: busybox }],
  });
  await single.agent.assemble(single.root);
  const listing = await single.run(['/busybox', 'ls', '-A', '/', '/etc'], { user: '7:8' });
  equal(
    listing.stdout,
    '/:\n.dockerenv\nbusybox\ndev\netc\nproc\nsys\n\n/etc:\nhostname\nhosts\nmtab\nresolv.conf\n',
  );
  deepEqual(await single.agent.changes(), []);
  const linked = await bootAgentGuest(t, {
    members: [
      { name: 'busybox', mode: 0o755, data: busybox },
      { name: 'etc', type: '2', linkName: '/../../proc' },
      { name: 'dev', type: '2', linkName: '/' },
    ],
  });
  await rejects(linked.agent.assemble(linked.root), {
    message: "the image's /dev is not a folder",
  });
});

test('a read-only root, tmpfs mounts and sizes of shared memory', async (t) => {
  const guest = await bootAgentGuest(t);
  await guest.agent.assemble({
    ...guest.root,
    readOnly: true,
    writable: 'memory',
    shmBytes: 1 << 20,
    sysctls: { 'net.core.somaxconn': '4321', 'kernel.shmmax': '65536' },
    mounts: [
      { type: 'tmpfs', destination: '/run/deep', options: ['exec'] },
      { type: 'tmpfs', destination: '/run', sizeBytes: 1 << 20, mode: 0o700 },
    ],
  });
  const output = await stdoutOf(
    guest,
    'touch /x 2>&1; touch /run/x /run/deep/y && grep -E " (/run.*|/dev/shm) " /proc/mounts; cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmax',
  );
  match(output, /^touch: \/x: Read-only file system$/m);
  match(output, /^tmpfs \/run tmpfs rw,nosuid,nodev,noexec,relatime,size=1024k,mode=700/m);
  match(output, /^tmpfs \/run\/deep tmpfs rw,nosuid,nodev,relatime/m);
  match(output, /^shm \/dev\/shm tmpfs .*size=1024k/m);
  match(output, /^4321\n65536$/m);
});

test('shares: folders, single files, read-only, and a new volume filled from the image', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'in/sub'), { recursive: true });
  mkdirSync(join(folder, 'volume'));
  mkdirSync(join(folder, 'used'));
  writeFileSync(join(folder, 'in/file'), 'from the host');
  writeFileSync(join(folder, 'used/own'), '');
  const guest = await bootAgentGuest(t, {
    members: busyboxMembers([
      { name: 'data', type: '5', uid: 1000, gid: 50, mode: 0o751 },
      { name: 'data/config', data: 'from the image', uid: 1000, mode: 0o640 },
      { name: 'data/deeper', type: '5' },
      { name: 'data/deeper/link', type: '2', linkName: '../config' },
      { name: 'escape', type: '2', linkName: '/../../etc/escaped' },
    ]),
    machine: {
      shares: [
        { path: join(folder, 'in'), tag: 'in' },
        { path: join(folder, 'volume'), tag: 'volume' },
        { path: join(folder, 'used'), tag: 'used' },
      ],
    },
  });
  await guest.agent.assemble({
    ...guest.root,
    mounts: [
      { type: 'share', tag: 'in', destination: '/mnt/in' },
      { type: 'share', tag: 'in', destination: '/mnt/ro', readOnly: true },
      { type: 'share', tag: 'in', source: 'file', destination: '/etc/single' },
      { type: 'share', tag: 'in', destination: '/escape' },
      { type: 'share', tag: 'volume', destination: '/data', copyUp: true },
      { type: 'share', tag: 'used', destination: '/home', copyUp: true },
    ],
  });
  const output = await stdoutOf(
    guest,
    `cat /mnt/in/file; echo; cat /etc/single; echo; touch /mnt/ro/x 2>&1; ls /etc/escaped /home
     echo answer > /mnt/in/answer; chown 1000:50 /mnt/in/answer; cat /data/deeper/link`,
  );
  match(output, /^from the host\nfrom the host\ntouch: \/mnt\/ro\/x: Read-only file system$/m);
  match(output, /^\/etc\/escaped:\nfile\nsub\n\n\/home:\nown$/m);
  match(output, /from the image$/);
  const answer = statSync(join(folder, 'in/answer'));
  deepEqual([answer.uid, answer.gid], [1000, 50]);
  const volume = statSync(join(folder, 'volume'));
  deepEqual([volume.uid, volume.gid, volume.mode & 0o7777], [1000, 50, 0o751]);
  equal(readFileSync(join(folder, 'volume/config'), 'utf8'), 'from the image');
  deepEqual(readdirSync(join(folder, 'used')), ['own']);
  await guest.agent.shutdown();
});

test('a socket in the container leads to the host', async (t) => {
  const client = join(temporaryFolder(t), 'client');
  compileGuestProgram(client, [CLIENT_SOURCE]);
  const guest = await bootAgentGuest(t, {
    members: busyboxMembers([{ name: 'bin/client', mode: 0o755, data: readFileSync(client) }]),
  });
  guest.machine.vsock?.listen(2000, (stream) => {
    stream.on('data', (bytes: Buffer) => stream.write(bytes.toString().toUpperCase()));
    stream.on('end', () => stream.end(' bye'));
    stream.on('error', () => {});
  });
  await guest.agent.assemble({
    ...guest.root,
    mounts: [
      { type: 'socket', destination: '/var/run/x.sock', port: 2000, mode: 0o666, groupId: 50 },
      { type: 'socket', destination: '/var/run/nobody.sock', port: 2001 },
    ],
  });
  const script = `stat -c '%A %u %g' /var/run/x.sock; head -c 300000 /dev/zero | tr '\\0' a > /big
     client /var/run/x.sock < /big > /answer; tr -d A < /answer; wc -c < /answer
     client /var/run/nobody.sock < /big | wc -c`;
  equal(await stdoutOf(guest, script), 'srw-rw-rw- 0 50\n bye300004\n0');
});

test('--init: a reaper is PID 1, forwards signals and passes the exit code on', async (t) => {
  const guest = await bootAgentGuest(t);
  await guest.agent.assemble({ ...guest.root, init: true });
  const process = await guest.agent.startProcess({
    args: [
      'sh',
      '-c',
      'trap "exit 9" TERM; cat /proc/1/comm; (sleep 0.1 &); echo $$; while :; do sleep 0.1; done',
    ],
    env: ['PATH=/bin'],
  });
  process.stderr?.resume();
  const output = buffer(process.stdout);
  // An orphan that has ended is a zombie until PID 1 has waited for it.
  const orphans = 'ps -o ppid,stat,comm | grep -E "^ *1 .*(Z|sleep)"';
  const reaped = `(sleep 0.1 &); for i in $(seq 600); do ${orphans} >/dev/null || break; sleep 0.1; done; ${orphans}`;
  equal((await guest.run(['sh', '-c', reaped])).stdout, '');
  await guest.agent.signal(process, 15);
  deepEqual(await process.ended, { exitCode: 9 });
  equal((await output).toString(), 'tsvm-init\n2\n');
});

test('a terminal of the first process is the container’s console', async (t) => {
  const guest = await bootAgentGuest(t);
  await guest.agent.assemble(guest.root);
  const { stdout, end } = await guest.run(['sh', '-c', 'tty; echo on the console > /dev/console'], {
    terminal: { columns: 80, rows: 25 },
  });
  equal(stdout, '/dev/pts/0\r\non the console\r\n');
  deepEqual(end, { exitCode: 0 });
});

test('a privileged container has the devices, and may mount', async (t) => {
  const guest = await bootAgentGuest(t);
  await guest.agent.assemble({ ...guest.root, privileged: true });
  const script =
    'mount -t tmpfs x /tmp && ls /dev/vda && echo 1 > /proc/sys/kernel/panic && mkdir /sys/fs/cgroup/x && ls /dev/pts';
  equal(await stdoutOf(guest, script, { privileged: true }), '/dev/vda\nptmx');
});

test('fixed addresses, and those that passt gives by DHCP', async (t) => {
  const macs = ['52:54:00:00:00:01', '52:54:00:00:00:02'] as const;
  const guest = await bootAgentGuest(t, {
    machine: {
      nets: [
        { kind: 'user', mac: macs[0] },
        { kind: 'user', mac: macs[1] },
      ],
    },
  });
  await guest.agent.assemble({
    ...guest.root,
    interfaces: [
      { mac: macs[1], addresses: ['10.89.0.2/24', 'fd00::2/64'], gateways: ['fd00::1'], mtu: 1400 },
      { mac: macs[0], dhcp: true },
    ],
  });
  const script = 'ip -o addr; ip link show eth0; ip link show eth1; ip route; ip -6 route';
  const output = await stdoutOf(guest, script);
  match(output, /eth0 +inet 10\.89\.0\.2\/24 brd 10\.89\.0\.255/);
  match(output, /eth0 +inet6 fd00::2\/64/);
  match(output, /eth0: .* mtu 1400 /);
  match(output, /eth1 +inet \d+\.\d+\.\d+\.\d+\/\d+/);
  match(output, /eth1: .* mtu 65520 /);
  match(output, /^default via .* dev eth1/m);
  match(output, /^default via fd00::1 dev eth0/m);
  match(output, /lo +inet 127\.0\.0\.1\/8/);
});
