/** Disks and networks that come and go while Linux runs: by ACPI, without a rescan by hand. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootMachine, type HotplugControls, type Machine } from '../../../vmm/index.ts';
import { resolveConfig } from '../../../vmm/machine/config.ts';
import type { Machine as WholeMachine } from '../../../vmm/machine/machine.ts';
import { presentConfig } from '../../../vmm/machine/machine-controls.ts';
import { GuestShell } from '../../support/guest-shell.ts';
import {
  BOOT_TIMEOUT_MS,
  COMMAND_TIMEOUT_MS,
  defaultKernel,
  rootDisk,
} from '../../support/linux-guest.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

/** Of adding and removing under I/O; more with TSVM_HOTPLUG_ROUNDS. */
const ROUNDS = Number(process.env['TSVM_HOTPLUG_ROUNDS'] ?? 20);
const MIB = 2 ** 20;
/** Much more than a guest needs, on a slow host. */
const REMOVAL = { timeoutMs: 180_000, force: false };

/** The guest complains of faults, not of a host that lets a vCPU wait for half a minute. */
const NO_WATCHDOGS = 'nowatchdog rcupdate.rcu_cpu_stall_suppress=1 workqueue.watchdog_thresh=0';

/** What users of a machine do not see. */
type Whole = Pick<WholeMachine, 'saveDevices' | 'loadDevices'>;

interface Guest {
  readonly machine: Machine;
  readonly shell: GuestShell;
  readonly hotplug: HotplugControls;
  readonly folder: string;
}

async function bootGuest(test: TestContext, cpus = 1): Promise<Guest> {
  const folder = temporaryFolder(test);
  const shell = new GuestShell();
  const machine = await bootMachine(
    {
      ...defaultKernel(),
      disks: [{ path: await rootDisk(test) }],
      transport: 'pci',
      cpus,
      appendCmdline: NO_WATCHDOGS,
    },
    { console: shell },
  );
  test.after(() => machine.close());
  machine.start();
  await shell.ready();
  const { hotplug } = machine.controls;
  assert.ok(hotplug);
  return { machine, shell, hotplug, folder };
}

/** Waits for a condition of the guest's shell, and tells how it is. */
function until(shell: GuestShell, condition: string): Promise<string> {
  return shell.run(
    `for i in $(seq 600); do ${condition} && break; sleep 0.1; done; ${condition}; echo $?`,
  );
}

function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

const COMPLAINTS = /BUG|WARNING|Oops|Call Trace|ACPI.*(Error|Warning)|no space|can't assign/;
const LINES_BEFORE = 3;

/** Shows the lines of the kernel's log from shortly before the first complaint on. */
async function assertNoComplaints(shell: GuestShell): Promise<void> {
  const lines = (await shell.run('dmesg')).split('\n');
  const first = lines.findIndex((line) => COMPLAINTS.test(line));
  assert.ok(first < 0, lines.slice(Math.max(0, first - LINES_BEFORE)).join('\n'));
}

test(`a disk comes and goes under I/O, ${ROUNDS} rounds: nothing is lost, nothing is left`, async (t) => {
  const { machine, shell, hotplug, folder } = await bootGuest(t, 2);
  const path = join(folder, 'data.img');
  await shell.run(
    '(while :; do dd if=/dev/zero of=/root/load bs=64k count=16 conv=fsync; done) >/dev/null 2>&1 &',
  );
  let before = 0;
  for (let round = 0; round < ROUNDS; round++) {
    writeFileSync(path, Buffer.alloc(MIB, `old ${round} `));
    assert.equal(
      await hotplug.addDisk({ path, limits: { operationsPerSecond: 100_000 } }),
      'disk1',
    );
    assert.match(await until(shell, '[ -b /dev/vdb ]'), /^0$/m, `round ${round}`);
    const found = await shell.run(
      'cat /sys/block/vdb/serial; echo; head -c 8 /dev/vdb; echo; ' +
        `printf 'new ${round} ' | dd of=/dev/vdb conv=notrunc,fsync; (cat /dev/vdb >/dev/null 2>&1 &)`,
    );
    assert.match(found, /^disk1$/m);
    assert.match(found, new RegExp(`^old ${round} `, 'm'));
    assert.ok((machine.metrics().devices['disk1']?.counters['writes'] ?? 1) >= 1);
    await hotplug.remove('disk1', REMOVAL);
    assert.ok(readFileSync(path, 'latin1').startsWith(`new ${round} `), 'it is durable');
    assert.match(await until(shell, '[ ! -e /dev/vdb ]'), /^0$/m);
    assert.equal(machine.metrics().devices['disk1'], undefined);
    // What a machine keeps for the next device is there after the first.
    if (round === 0) before = openFiles();
  }
  assert.ok(openFiles() <= before, `${openFiles()} open files, ${before} after the first round`);
  await assertNoComplaints(shell);
});

test('limits and counters of an added disk are its own; a second and a third get the next ids', async (t) => {
  const { machine, shell, hotplug, folder } = await bootGuest(t);
  const paths = ['a', 'b', 'c'].map((name) => join(folder, name));
  for (const path of paths) writeFileSync(path, Buffer.alloc(MIB));
  const [a = '', b = '', c = ''] = paths;
  assert.equal(await hotplug.addDisk({ path: a, limits: { operationsPerSecond: 5 } }), 'disk1');
  assert.equal(await hotplug.addDisk({ path: b, readOnly: true }), 'disk2');
  assert.match(await until(shell, '[ -b /dev/vdc ]'), /^0$/m);
  // Messages of the kernel may come in between.
  const attributes = await shell.run('cat /sys/block/vd[bc]/ro /sys/block/vd[bc]/serial');
  assert.match(attributes, /^0\n1\ndisk1disk2$/m);
  await shell.run('dd if=/dev/vdb of=/dev/null bs=4k count=12 iflag=direct');
  const { counters } = machine.metrics().devices['disk1'] ?? {};
  assert.ok((counters?.['rateDelays'] ?? 0) > 0);
  await assert.rejects(hotplug.addDisk({ path: a }), /is the file of disk1/);
  await assert.rejects(hotplug.addDisk({ path: join(folder, 'none') }), /none/);
  await assert.rejects(hotplug.remove('disk3', REMOVAL), /no disk3 .*disk0, disk1, disk2/);
  await hotplug.remove('disk1', REMOVAL);
  assert.equal(await hotplug.addDisk({ path: c }), 'disk1', 'the first that is free');
});

test('a guest that takes its time: the removal fails by name, and comes true later', async (t) => {
  const { machine, shell, hotplug, folder } = await bootGuest(t);
  const path = join(folder, 'data.img');
  writeFileSync(path, Buffer.alloc(MIB));
  await hotplug.addDisk({ path });
  assert.match(await until(shell, '[ -b /dev/vdb ]'), /^0$/m);
  await assert.rejects(
    hotplug.remove('disk1', { timeoutMs: 0, force: false }),
    /has not let go of disk1 within 0 s.*--force/,
  );
  assert.match(await until(shell, '[ ! -e /dev/vdb ]'), /^0$/m);
  // The file is free, and so is the slot.
  let again: string | undefined;
  while (again === undefined) {
    await sleep(10);
    again = await hotplug.addDisk({ path }).catch((error: Error) => {
      assert.match(error.message, /in use|is the file of disk1/);
      return undefined;
    });
  }
  assert.equal(again, 'disk1');
  assert.equal(machine.controls.disks.get('disk1')?.config.slot, 2);
  assert.match(await until(shell, '[ -b /dev/vdb ]'), /^0$/m);
});

test('a disk that is pulled out amid I/O: its file is free at once, the guest goes on', async (t) => {
  const { machine, shell, hotplug, folder } = await bootGuest(t);
  const path = join(folder, 'data.img');
  await shell.run(
    '(while :; do dd if=/dev/vdb of=/dev/null bs=4k iflag=direct; done) >/dev/null 2>&1 &',
  );
  for (let round = 0; round < 10; round++) {
    writeFileSync(path, Buffer.alloc(4 * MIB));
    await hotplug.addDisk({ path });
    assert.match(await until(shell, '[ -b /dev/vdb ]'), /^0$/m);
    await hotplug.remove('disk1', { timeoutMs: 0, force: true });
    assert.equal(machine.controls.disks.has('disk1'), false);
    const opened = spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', path]);
    // Emulated hosts have none.
    if (!opened.error) assert.equal(opened.status, 0, String(opened.stderr));
    assert.match(await until(shell, '[ ! -e /dev/vdb ]'), /^0$/m, `round ${round}`);
    while (machine.metrics().devices['disk1'] !== undefined) await sleep(10);
  }
  assert.match(await shell.run('echo alive'), /alive/);
});

test('a network comes and goes', async (t) => {
  // Emulated hosts have none.
  if (spawnSync('passt', ['--version']).error) return t.skip('there is no passt');
  const { machine, shell, hotplug } = await bootGuest(t);
  for (const mac of ['52:54:00:00:00:01', '52:54:00:00:00:02', '52:54:00:00:00:03']) {
    assert.equal(await hotplug.addNet({ kind: 'user', mac }), 'net0');
    assert.match(await until(shell, '[ -e /sys/class/net/eth0 ]'), /^0$/m);
    assert.match(await shell.run('cat /sys/class/net/eth0/address'), new RegExp(mac));
    await shell.run(
      'ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ping -c 1 -W 1 192.0.2.1',
    );
    assert.ok((machine.metrics().devices['net0']?.counters['transmittedFrames'] ?? 1) > 0);
    const isLast = mac.endsWith('3');
    await hotplug.remove('net0', isLast ? { timeoutMs: 0, force: true } : REMOVAL);
    assert.match(await until(shell, '[ ! -e /sys/class/net/eth0 ]'), /^0$/m);
    assert.equal(machine.controls.nets.has('net0'), false);
  }
  await assertNoComplaints(shell);
});

test('a saved state has the added disk, and goes into a machine with the configuration that resulted', async (t) => {
  const { machine, shell, hotplug, folder } = await bootGuest(t);
  const path = join(folder, 'data.img');
  for (const file of [path, join(folder, 'gap.img')]) writeFileSync(file, Buffer.alloc(MIB));
  await hotplug.addDisk({ path: join(folder, 'gap.img') });
  await hotplug.addDisk({ path });
  assert.match(await until(shell, '[ -b /dev/vdc ]'), /^0$/m);
  await hotplug.remove('disk1', REMOVAL);
  await machine.pause();
  // What was added to a paused machine, its guest finds when it goes on.
  await hotplug.addDisk({ path: join(folder, 'gap.img') });
  assert.equal(machine.controls.disks.get('disk1')?.config.slot, 2);
  const states = (machine as unknown as Whole).saveDevices();
  assert.deepEqual(
    Object.keys(states)
      .filter((id) => /disk|hotplug/.test(id))
      .toSorted(),
    [...['disk0', 'disk1', 'disk2', 'pci-hotplug']],
  );
  const config = presentConfig(
    resolveConfig({ ...defaultKernel(), transport: 'pci' }),
    machine.controls,
  );
  await machine.close();
  const copy = await bootMachine(config);
  t.after(() => copy.close());
  (copy as unknown as Whole).loadDevices(states);
  assert.deepEqual(copy.controls.disks.get('disk2')?.config, config.disks[1]);
});

test('what was added and removed outlasts a reboot of the guest', async (context) => {
  const { run, env, folder } = runningMachinesOf(context);
  const files = join(folder, '..');
  for (const name of ['a', 'b']) writeFileSync(join(files, `${name}.img`), name.padEnd(MIB, '.'));
  const root = await rootDisk(context);
  const boot = `boot --detach --name web --transport pci --disk ${root} --disk ${files}/a.img`;
  assert.equal((await run(`${boot} --on-reboot restart`)).stdout, 'web\n');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const guest = new TerminalSession(context, `${set.join(' ')} ${TSVM} console web`);
  await guest.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  assert.deepEqual(await run(`disk add web ${files}/b.img`), {
    stdout: 'disk2\n',
    stderr: '',
    code: 0,
  });
  assert.equal((await run('disk remove --timeout 180 web disk1')).stdout, 'disk1\n');
  guest.type('reboot\r');
  await guest.waitFor(/built-in commands.*built-in commands/s, BOOT_TIMEOUT_MS);
  guest.type(
    'echo "it: $(cat /sys/block/vdb/serial) $(head -c 1 /dev/vdb) $(ls -d /sys/bus/pci/devices/*:03.0)"\r',
  );
  await guest.waitFor(/^it: disk2 b \S*0000:00:03.0$/m, COMMAND_TIMEOUT_MS);
  assert.match((await run('status web')).stdout, /disk2: +\S*b\.img/);
  const refused = await run(`disk remove web disk1`);
  assert.deepEqual(
    [refused.code, refused.stderr],
    [1, 'tsvm: the machine has no disk disk1 (it has: disk0, disk2)\n'],
  );
});

test('a machine in its sandbox adds the files that its boot has named, and refuses the rest', async (context) => {
  const { run, env, folder } = runningMachinesOf(context);
  const files = join(folder, '..');
  const named = join(files, 'named');
  mkdirSync(named);
  chmodSync(named, 0o777);
  for (const path of [join(named, 'a.img'), join(files, 'b.img')]) {
    writeFileSync(path, Buffer.alloc(MIB));
    chmodSync(path, 0o666);
  }
  const boot = `boot --detach --name web --transport pci --disk ${await rootDisk(context)}`;
  assert.equal((await run(`${boot} --sandbox on,files=${named}`)).stdout, 'web\n');
  const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const guest = new TerminalSession(context, `${set.join(' ')} ${TSVM} console web`);
  await guest.waitFor(/built-in commands/, BOOT_TIMEOUT_MS);
  const status = (await run('status web')).stdout;
  for (let round = 0; round < 2; round++) {
    const added = await run(`disk add web ${named}/a.img`);
    assert.deepEqual(added, { stdout: 'disk1\n', stderr: '', code: 0 });
    guest.type(`until [ -b /dev/vdb ]; do sleep 0.1; done; echo "found-${round}"\r`);
    await guest.waitFor(new RegExp(`^found-${round}$`, 'm'), COMMAND_TIMEOUT_MS);
    assert.equal((await run('disk remove --timeout 180 web disk1')).stderr, '');
  }
  if (!/^Sandbox: +process/m.test(status)) return;
  for (const [args, message] of [
    [`disk add web ${files}/b.img`, /(EACCES|ENOENT).*--sandbox on,files=PATH/],
    ['net add web user', /--sandbox off/],
    ['net add web tap=tap0', /--sandbox off/],
  ] as const) {
    const refused = await run(args);
    assert.equal(refused.code, 1, args);
    assert.match(refused.stderr, message);
  }
});
