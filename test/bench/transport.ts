import { once as event } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootMachine } from '../../vmm/index.ts';
import { once } from '../../vmm/util/once.ts';
import { GuestShell } from '../support/guest-shell.ts';
import { defaultGuest, defaultKernel } from '../support/linux-guest.ts';
import type { Benchmark } from './benchmark.ts';
import { cloudFiles, Guest, makeLinuxFiles, timeBoot, tsvmCommand } from './linux-speed.ts';
import type { Command } from './process.ts';
import type { Workbench } from './workbench.ts';

const TRANSPORTS = ['pci', 'mmio'] as const;
type Transport = (typeof TRANSPORTS)[number];

/** PCI is to be no slower; a tenth is what samples differ by on an idle machine. */
const COMPARISONS = [{ of: 'pci', against: 'mmio', as: 'ratio', atMost: 1.1 }] as const;

const ROUND_TRIPS = 400;
const WARM_UP = 50;
const CLOUD_MEMORY_MIB = 512;

const MEASURES = [
  { figure: 'boot', name: 'exec to the first program', unit: 's', scale: 1 },
  { figure: 'random-read', name: '4 KiB random read', unit: 'us', scale: 1e6 },
  { figure: 'sequential-read', name: '64 KiB of a file', unit: 'us', scale: 1e6 },
] as const;

function withTransport([program, ...args]: Command, transport: Transport): Command {
  return [program, ...args, '--transport', transport];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await event(server, 'listening');
  const address = server.address();
  server.close();
  await event(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function roundTrip(socket: Socket): Promise<void> {
  socket.write('.');
  await event(socket, 'data');
}

/** Microseconds for a byte over TCP from the host to a program of the guest and back. */
async function timeRoundTrips(transport: Transport): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
  const hostPort = await freePort();
  const path = join(folder, 'root.img');
  copyFileSync(defaultGuest().rootDiskPath, path);
  const shell = new GuestShell();
  const forward = { protocol: 'tcp', address: '127.0.0.1', hostPort, guestPort: 7 } as const;
  const machine = await bootMachine(
    {
      ...defaultKernel(),
      ...{ transport, disks: [{ path }], nets: [{ kind: 'user', forwards: [forward] }] },
    },
    { console: shell },
  );
  try {
    machine.start();
    await shell.ready();
    await shell.run('nc -ll -p 7 -e /bin/cat >/dev/null 2>&1 & sleep 1');
    const socket = connect(hostPort, '127.0.0.1').setNoDelay(true);
    await event(socket, 'connect');
    for (let i = 0; i < WARM_UP; i++) await roundTrip(socket);
    const startMs = performance.now();
    for (let i = 0; i < ROUND_TRIPS; i++) await roundTrip(socket);
    const elapsedMs = performance.now() - startMs;
    socket.destroy();
    return (1000 * elapsedMs) / ROUND_TRIPS;
  } finally {
    await machine.close();
    rmSync(folder, { recursive: true });
  }
}

/** virtio over PCI with MSI-X against virtio-mmio, with Linux: what the default is chosen by. */
export function transportBenchmarks(workbench: Workbench): Benchmark[] {
  const files = once(() => makeLinuxFiles(workbench));
  const cloud = once(() => cloudFiles(files));
  const guests = TRANSPORTS.map(
    (transport) =>
      new Guest(transport, () => withTransport(tsvmCommand(workbench, files(), 1), transport)),
  );
  return [
    ...MEASURES.map(
      ({ figure, name, unit, scale }): Benchmark => ({
        name: `transport: ${name}`,
        unit,
        contestants: guests.map((guest) => guest.contestant(figure, scale)),
        comparisons: COMPARISONS,
      }),
    ),
    {
      name: 'transport: exec to the first program, Debian’s cloud kernel',
      unit: 's',
      contestants: TRANSPORTS.map((name) => ({
        name,
        sample: () =>
          timeBoot(withTransport(tsvmCommand(workbench, cloud(), 1, CLOUD_MEMORY_MIB), name)),
      })),
      comparisons: COMPARISONS,
    },
    {
      name: 'transport: a byte to a program of the guest and back',
      unit: 'us',
      contestants: TRANSPORTS.map((name) => ({ name, sample: () => timeRoundTrips(name) })),
      comparisons: COMPARISONS,
    },
  ];
}
