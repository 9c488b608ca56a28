/** What root with all capabilities in a container's machine gets of the host. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { ContainerShell } from '../support/container-shell.ts';
import { compileGuestProgram } from '../support/initrd.ts';
import { HOST_ADDRESS, NEEDS_ROOT, NetworkNamespace } from '../support/network-namespace.ts';
import { storeFaults } from '../support/own-store.ts';

const SOURCE = join(packageRoot(), 'test/support/guest-programs/host_attack.c');
const SECRET = 'the secret of the host';
/** The second way reaches the machine's own devices, outside of all namespaces of the container. */
const WAYS = ['--privileged', '--guest'];

const shell = new ContainerShell();
const outside = mkdtempSync(join(tmpdir(), 'tsvm-outside-'));
const secret = join(outside, 'secret');
const share = join(outside, 'share');

before(() => {
  mkdirSync(share);
  mkdirSync(join(outside, 'fixed'));
  writeFileSync(secret, SECRET);
  const program = join(outside, 'attack');
  compileGuestProgram(program, [SOURCE]);
  shell.addImage('box', {}, [{ name: 'attack', mode: 0o755, data: readFileSync(program) }]);
});
after(async () => {
  await shell.close();
  rmSync(outside, { recursive: true });
});

/** The attempts of `attack` by name. */
async function attack(way: string, words: string): Promise<Map<string, string>> {
  const output = await shell.ok(`tsvm exec ${way} attacker /attack ${words}`);
  return new Map(
    output
      .trim()
      .split('\n')
      .map((line) => line.split(/: (.*)/s, 2) as [string, string]),
  );
}

async function startAttacker(): Promise<void> {
  const mounts = `-v ${share}:/share -v ${outside}/fixed:/fixed:ro`;
  await shell.ok(`tsvm run -d --name attacker --privileged ${mounts} box sleep 1000`);
}

for (const way of WAYS) {
  test(`root by exec ${way} reaches no vsock port, loopback, file or disk of the host`, async (t) => {
    await startAttacker();
    t.after(() => shell.sh('tsvm rm -f attacker'));
    const server = createServer((socket) => socket.end(SECRET));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;

    for (const [name, result] of await attack(way, 'vsock')) {
      assert.match(result, /^(?:0 connections|no connection)$/, name);
    }
    // The machine's own loopback, the host by its address in the machine, and a cloud's metadata.
    for (const address of ['127.0.0.1', '10.0.2.2', '169.254.169.254']) {
      const [result = ''] = (await attack(way, `connect ${address} ${port}`)).values();
      assert.doesNotMatch(result, /secret/, address);
    }
    const files = await attack(way, `share /share ${secret}`);
    for (const by of ['..', 'the link', '/proc/self/fd']) {
      assert.equal(files.get(`the secret by ${by}`), 'ENOENT', by);
    }
    assert.equal(files.get('open_by_handle_at of other files'), 'nothing');
    assert.equal(files.get('rename out of the share'), 'EXDEV');
    assert.equal(readFileSync(secret, 'utf8'), SECRET);

    const disks = await attack(way, 'disks');
    assert.equal(disks.get('disks'), '2', 'its image and what it writes');
    assert.notEqual(disks.get('write to the image'), 'done');
    assert.deepEqual(storeFaults(join(shell.data, 'images')), []);
  });
}

// On the host's own network, something else may accept connections to these addresses, as clouds do.
test('nothing accepts connections to the host, if its network does not', NEEDS_ROOT, async (t) => {
  const namespace = await NetworkNamespace.create(t);
  const port = 8080;
  const serve = `net.createServer((client) => client.end('${SECRET}')).listen(${port}, '127.0.0.1')`;
  namespace.start(t, process.execPath, '-e', serve);
  const enter = namespace.enter.join(' ');
  await shell.until(`${enter} busybox nc -w 1 127.0.0.1 ${port}`, new RegExp(SECRET));
  const line = (flags: string, address: string) =>
    `${enter} tsvm run --rm ${flags} box /attack connect ${address} ${port}`;
  for (const address of ['127.0.0.1', '10.0.2.2', '169.254.169.254', HOST_ADDRESS]) {
    assert.match(await shell.ok(line('', address)), /: E[A-Z]+$/m, address);
  }
  // If it is asked for. The program waits for a second only.
  await shell.until(line('--add-host host:host-gateway', '10.0.2.2'), new RegExp(SECRET));
});

test('a read-only mount cannot be made writable in the machine', async (t) => {
  await startAttacker();
  t.after(() => shell.sh('tsvm rm -f attacker'));
  const line = 'mount -o remount,rw,bind /fixed; mount -o remount,rw /fixed; echo x > /fixed/file';
  await shell.sh(`tsvm exec --privileged attacker sh -c '${line}'`);
  assert.equal(existsSync(join(outside, 'fixed/file')), false);
});

test('registers and queues that lie, and accesses where nothing is, end their own machine at most', async (t) => {
  await shell.ok('tsvm run -d --name neighbour box sleep 1000');
  t.after(() => shell.sh('tsvm rm -f neighbour'));
  await startAttacker();
  const drivers = '/sys/bus/platform/drivers/virtio-mmio';
  const devices = (await shell.ok(`tsvm exec --privileged attacker ls ${drivers}`))
    .split('\n')
    .filter((name) => name.startsWith('LNRO'));
  assert.ok(devices.length >= 6, devices.join(' '));
  await shell.sh('tsvm rm -f attacker');
  let written = 0;
  for (const attempt of [...devices.map((name) => `device ${name}`), 'holes']) {
    await startAttacker();
    // The machine may end, or be of no use any more: that is its own affair.
    const { stdout } = await shell.sh(
      `timeout 15 tsvm exec --privileged attacker /attack ${attempt}`,
    );
    if (/: (?:written|accessed)$/m.test(stdout)) written++;
    assert.equal(await shell.ok('tsvm exec neighbour echo here'), 'here\n', attempt);
    const logs = await shell.sh('cat data/containers/*/supervisor.log 2>/dev/null');
    assert.doesNotMatch(logs.stdout, /SIGSEGV|AddressSanitizer|TypeError|RangeError/, attempt);
    await shell.ok('tsvm rm -f attacker');
  }
  assert.ok(written > 0, 'some attempts reach a device');
  assert.equal(await shell.ok('tsvm run --rm box echo fine'), 'fine\n');
});
