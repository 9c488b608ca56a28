/** A machine with the guest agent that goes on in other machines, with their disks and networks. */

import { deepEqual, equal, match, notEqual, ok, rejects } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { ContainerInterface } from '../../vmm/container/agent/agent.ts';
import { connectAgent } from '../../vmm/container/agent/connect-agent.ts';
import { PLACEHOLDER_BYTES } from '../../vmm/container/agent/protocol.ts';
import type { MachineConfig } from '../../vmm/index.ts';
import { bootAssembly } from '../../vmm/machine/boot-machine.ts';
import { restoreMachine, saveMachine } from '../../vmm/machine/saved-machine.ts';
import {
  type AgentGuest,
  agentDisks,
  agentMachine,
  startAgentGuest,
} from '../support/agent-guest.ts';
import { ConsoleOutput } from '../support/console-output.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const DEVICE_MAC = '02:00:00:00:00:01';
const CONFIG: Partial<MachineConfig> = {
  appendCmdline: 'quiet clocksource=kvm-clock maxcpus=1',
  balloon: true,
};

/** Saves a machine whose agent waits for a container. @returns the folder */
async function savedMachine(t: TestContext, config: Partial<MachineConfig> = {}): Promise<string> {
  const folder = temporaryFolder(t);
  const placeholder = join(folder, 'placeholder');
  writeFileSync(placeholder, new Uint8Array(PLACEHOLDER_BYTES));
  const assembly = await bootAssembly(
    {
      ...agentMachine(),
      ...CONFIG,
      disks: [{ files: [placeholder] }, { path: placeholder, format: 'raw' }],
      ...config,
    },
    {},
  );
  const { machine } = assembly;
  t.after(() => machine.close());
  ok(machine.vsock);
  const connected = connectAgent(machine.vsock);
  machine.start();
  const agent = await connected;
  await agent.prepare();
  await machine.pause();
  const saved = join(folder, 'saved');
  mkdirSync(saved);
  await saveMachine(assembly, saved);
  await machine.close();
  return saved;
}

async function restore(
  t: TestContext,
  folder: string,
  config: Partial<MachineConfig> = {},
): Promise<AgentGuest> {
  const { disks, metadata } = agentDisks(t);
  const console = new ConsoleOutput();
  const assembly = await restoreMachine(
    { ...agentMachine(), ...CONFIG, disks, ...config },
    folder,
    { console, replacesDisks: true },
  );
  const guest = await startAgentGuest(t, { machine: assembly.machine, console, metadata });
  await assembly.ready();
  await guest.agent.renew();
  return guest;
}

async function shell(guest: AgentGuest, script: string): Promise<string> {
  const { stdout, stderr, end } = await guest.run(['sh', '-c', script]);
  deepEqual({ stderr, end }, { stderr: '', end: { exitCode: 0 } });
  return stdout.trim();
}

/** Emulated hosts have no passt: there it is about all the others. */
const HAS_PASST = spawnSync('passt', ['--version']).error === undefined;
const NET: MachineConfig['nets'] = HAS_PASST ? [{ kind: 'user', mac: DEVICE_MAC }] : [];
const interfacesOf = (link: Omit<ContainerInterface, 'deviceMac'>) =>
  HAS_PASST ? [{ ...link, deviceMac: DEVICE_MAC }] : [];

test('a restored machine has its clock, timers, processors, memory and devices', async (t) => {
  const saved = await savedMachine(t, { nets: NET });
  equal(statSync(join(saved, 'memory')).mode & 0o777, 0o600);
  equal(statSync(join(saved, 'state')).mode & 0o777, 0o600);
  const guest = await restore(t, saved, { nets: NET });
  const mac = '02:aa:bb:cc:dd:ee';
  await guest.agent.assemble({
    ...guest.root,
    hostname: 'second',
    interfaces: interfacesOf({ mac, dhcp: true }),
  });
  const before = Date.now();
  const script = `
    date +%s; hostname; nproc; cat /sys/class/net/eth0/address 2>/dev/null || echo none
    ip route | grep -c '^default via'
    for i in 1 2; do (i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done) & done; wait
    a=$(cut -d. -f1 /proc/uptime); sleep 1.2; echo $(($(cut -d. -f1 /proc/uptime) - a))
    dd if=/dev/urandom of=/data bs=64k count=128 2>/dev/null; sync
    stat -c %s /data`;
  const [time, hostname, cpus, address, routes, one, two, slept, bytes] = (
    await shell(guest, script)
  ).split('\n');
  ok(Math.abs(Number(time) - before / 1000) < 30, `the guest's time is ${time}`);
  deepEqual([hostname, cpus], ['second', '2']);
  deepEqual([address, routes], HAS_PASST ? [mac, '1'] : ['none', '0']);
  deepEqual([one, two], ['done', 'done']);
  // The guest's clock goes on from where it was: no jump by what passed on the host.
  ok(Number(slept) >= 1 && Number(slept) < 60, `slept ${slept} s`);
  equal(bytes, `${128 * 64 * 1024}`);
  const { disk0, disk1, net0, vsock } = guest.machine.statistics();
  for (const device of [disk0, disk1, vsock, ...(HAS_PASST ? [net0] : [])]) {
    ok(Object.values(device ?? {}).some((count) => count > 0));
  }
  await guest.agent.shutdown();
  equal((await guest.machine.ended).reason, 'poweroff');
});

test('machines restored from one share neither random numbers nor a boot id', async (t) => {
  const saved = await savedMachine(t, { cpus: 1 });
  const memory = readFileSync(join(saved, 'memory'));
  const read = async () => {
    const guest = await restore(t, saved, { cpus: 1 });
    await guest.agent.assemble(guest.root);
    const script = 'cat /proc/sys/kernel/random/boot_id; head -c 32 /dev/urandom | hexdump -C';
    const [bootId, random] = (await shell(guest, script)).split('\n');
    await guest.machine.close();
    return { bootId, random };
  };
  const first = await read();
  const second = await read();
  match(first.bootId ?? '', /^[0-9a-f-]{36}$/);
  notEqual(first.bootId, second.bootId);
  notEqual(first.random, second.random);
  ok(readFileSync(join(saved, 'memory')).equals(memory), 'the file has not changed');
});

test('a restored machine on PCI', async (t) => {
  const config = { transport: 'pci', cpus: 1, nets: NET } as const;
  const guest = await restore(t, await savedMachine(t, config), config);
  const mac = '02:aa:bb:cc:dd:01';
  const interfaces = interfacesOf({ mac, addresses: ['192.0.2.7/24'] });
  await guest.agent.assemble({ ...guest.root, interfaces });
  equal(
    await shell(
      guest,
      'echo kept >/file; sync; cat /file; cat /sys/class/net/eth0/address 2>/dev/null || :',
    ),
    HAS_PASST ? `kept\n${mac}` : 'kept',
  );
});

test('a saved machine that is damaged, or that of another machine, is refused', async (t) => {
  const saved = await savedMachine(t, { cpus: 1 });
  const refused = async (
    message: RegExp,
    config: Partial<MachineConfig>,
    damage: (folder: string) => void = () => {},
  ) => {
    const folder = join(temporaryFolder(t), 'copy');
    cpSync(saved, folder, { recursive: true });
    damage(folder);
    const { disks } = agentDisks(t);
    await rejects(
      restoreMachine({ ...agentMachine(), ...CONFIG, cpus: 1, disks, ...config }, folder, {
        replacesDisks: true,
      }),
      (error: { code?: string; message?: string }) =>
        error.code === 'invalid-state' && message.test(error.message ?? ''),
    );
  };
  await refused(/1 vCPUs/, { cpus: 2 });
  await refused(/another size of memory/, { memoryBytes: 256 * 2 ** 20 });
  await refused(/other devices/, { balloon: false });
  await refused(/memory file is too short/, {}, (folder) => {
    truncateSync(join(folder, 'memory'), 2 ** 21);
  });
  await refused(/damaged/, {}, (folder) => truncateSync(join(folder, 'state'), 1000));
  await refused(/damaged/, {}, (folder) => truncateSync(join(folder, 'state'), 0));
  await refused(/ENOENT/, {}, (folder) => rmSync(join(folder, 'state')));
});
