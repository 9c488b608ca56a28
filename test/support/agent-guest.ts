/** A machine with the guest agent and a small image: busybox, with its programs as links. */
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import type {
  Agent,
  ContainerRoot,
  ProcessEnd,
  ProcessSpec,
} from '../../vmm/container/agent/agent.ts';
import { connectAgent } from '../../vmm/container/agent/connect-agent.ts';
import {
  bootMachine,
  type DiskConfig,
  type Machine,
  type MachineConfig,
  type VsockPorts,
} from '../../vmm/index.ts';
import { ConsoleOutput } from './console-output.ts';
import { writeLayers, writeMetadata } from './mounted-rootfs.ts';
import { type MadeMember, makeTar } from './tar-maker.ts';
import { temporaryFolder } from './tsvm-process.ts';

const PATH = 'PATH=/usr/sbin:/usr/bin:/sbin:/bin';
const WRITABLE_BYTES = 256 * 2 ** 20;

export interface AgentGuest {
  readonly machine: Machine;
  readonly agent: Agent;
  readonly console: ConsoleOutput;
  /** The configuration for `assemble`, with the image's size filled in. */
  readonly root: ContainerRoot;
  /** Runs a process to its end, with `input` as its standard input. */
  run(args: readonly string[], spec?: Partial<ProcessSpec>, input?: string): Promise<RunResult>;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly end: ProcessEnd;
}

/** Busybox, passwd and group, and the files that a test adds. */
export function busyboxMembers(extra: readonly MadeMember[] = []): MadeMember[] {
  const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n');
  const folder = (name: string, mode = 0o755): MadeMember => ({ name, type: '5', mode });
  return [
    folder('bin'),
    folder('etc'),
    folder('root', 0o700),
    folder('tmp', 0o1777),
    folder('home'),
    { name: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') },
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): MadeMember => ({ name: `bin/${name}`, type: '2', linkName: 'busybox' })),
    {
      name: 'etc/passwd',
      data: 'root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\n',
    },
    { name: 'etc/group', data: 'root:x:0:\nstaff:x:50:ann,root\nann:x:1001:\naudio:x:63:ann\n' },
    { name: 'home/ann', type: '5', uid: 1000, gid: 1001 },
    ...extra,
  ];
}

/** A new ext4 file system for the container's writes. */
export function writableDisk(folder: string): string {
  const path = join(folder, 'writable.img');
  writeFileSync(path, '');
  truncateSync(path, WRITABLE_BYTES);
  // Emulated hosts have no mke2fs.conf.
  const env = { ...process.env, MKE2FS_CONFIG: '/dev/null' };
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', 'extent,has_journal', path], { env });
  return path;
}

/** The same ports, whose listeners' connections are shown to a test. */
function watched(ports: VsockPorts, onControl: ((stream: Duplex) => void) | undefined): VsockPorts {
  const shown: Pick<VsockPorts, 'connect' | 'listen'> = {
    connect: (port, options) => ports.connect(port, options),
    listen: (port, onConnection) =>
      ports.listen(port, (stream, peer) => {
        onControl?.(stream);
        onConnection(stream, peer);
      }),
  };
  return shown as VsockPorts;
}

/** Boots a machine with the agent and waits for its hello. The root is not assembled yet. */
export async function bootAgentGuest(
  test: TestContext,
  options: {
    readonly members?: readonly MadeMember[];
    readonly machine?: Partial<MachineConfig>;
    readonly writablePath?: string;
    /** Gets the host's end of the control connection. */
    readonly onControl?: (stream: Duplex) => void;
  } = {},
): Promise<AgentGuest> {
  const { disks, metadata } = agentDisks(test, options);
  const console = new ConsoleOutput();
  const machine = await bootMachine({ ...agentMachine(), disks, ...options.machine }, { console });
  return startAgentGuest(test, { machine, console, metadata, onControl: options.onControl });
}

/** What machines with the agent have in common; disks are missing. */
export function agentMachine(): MachineConfig {
  const guest = locateDefaultGuest();
  if (guest === undefined) throw new Error('the default guest is not built: npm run setup');
  return {
    kernelPath: guest.kernelPath,
    modulesPath: guest.modulesPath,
    initrdPath: guest.agentInitrdPath,
    appendCmdline: 'quiet',
    cpus: 2,
    memoryBytes: 512 * 2 ** 20,
    vsock: {},
  };
}

/** The image's and the writable disk, and the file of the image's metadata. */
export function agentDisks(
  test: TestContext,
  options: { readonly members?: readonly MadeMember[]; readonly writablePath?: string } = {},
): { disks: DiskConfig[]; metadata: string } {
  const folder = temporaryFolder(test);
  const layers = writeLayers(folder, [makeTar(options.members ?? busyboxMembers())]);
  const metadata = writeMetadata(folder, layers);
  return {
    disks: [
      { files: [metadata, ...layers] },
      { path: options.writablePath ?? writableDisk(folder), format: 'raw' },
    ],
    metadata,
  };
}

/** Starts a machine with the agent, and waits for its hello. */
export async function startAgentGuest(
  test: TestContext,
  options: {
    readonly machine: Machine;
    readonly console: ConsoleOutput;
    /** The file of the image's metadata. */
    readonly metadata: string;
    readonly onControl?: ((stream: Duplex) => void) | undefined;
  },
): Promise<AgentGuest> {
  const { console, machine, metadata } = options;
  test.after(() => machine.close());
  if (machine.vsock === undefined) throw new Error('the machine has no vsock device');
  const aborter = new AbortController();
  machine.ended.then((end) => {
    aborter.abort(new Error(`the guest ended: ${JSON.stringify(end)}\n${console.text}`));
  });
  const connected = connectAgent(watched(machine.vsock, options.onControl), {
    signal: aborter.signal,
  });
  machine.start();
  const agent = await connected;
  const root: ContainerRoot = {
    metadataBytes: statSync(metadata).size,
    writable: 'disk',
    hostname: 'box',
    hosts: '127.0.0.1\tlocalhost\n',
    resolvConf: 'nameserver 192.0.2.1\n',
  };
  const run: AgentGuest['run'] = async (args, spec, input) => {
    const process = await agent.startProcess({
      args,
      env: [PATH],
      stdin: input !== undefined,
      ...spec,
    });
    process.stdin?.end(input);
    const [stdout, stderr, end] = await Promise.all([
      buffer(process.stdout),
      process.stderr === undefined ? Buffer.alloc(0) : buffer(process.stderr),
      process.ended,
    ]);
    return { stdout: stdout.toString(), stderr: stderr.toString(), end };
  };
  return { machine, agent, console, root, run };
}
