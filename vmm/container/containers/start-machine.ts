/** The machine of a container: from its configuration to an agent that has assembled its root. */
import { statSync } from 'node:fs';
import type { VsockPorts } from '../../backends/vsock/vsock-ports.ts';
import { errorText, TsvmError } from '../../errors.ts';
import { bootMachine } from '../../machine/boot-machine.ts';
import type { MachineConfig } from '../../machine/config.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import { OutputRing } from '../../machine/output-ring.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Agent } from '../agent/agent.ts';
import { prepareNetworks } from '../networks/container-networks.ts';
import type { RunningNetworks } from '../networks/running-networks.ts';
import { rootfsDisk } from '../rootfs/rootfs-disk.ts';
import type { ImageStore } from '../store/image-store.ts';
import { prepareVolumes } from '../volumes/container-volumes.ts';
import type { ContainerConfig } from './container-config.ts';
import type { ContainerFolders } from './container-folders.ts';
import type { ContainerMachine } from './container-machine.ts';
import type { MachinePart } from './machine-part.ts';
import { containerRoot } from './process-specs.ts';
import { ensureWritableLayer } from './writable-layer.ts';

/** What all containers boot: a kernel, and the agent in an initramfs. */
export interface ContainerGuest {
  readonly kernelPath: string;
  readonly modulesPath?: string | undefined;
  readonly agentPath: string;
}

/** Waits for the agent of a machine that is about to start. */
export type ConnectAgent = (
  ports: VsockPorts,
  options: { readonly signal: AbortSignal },
) => Promise<Agent>;

export interface MachineStarterOptions {
  readonly images: ImageStore;
  readonly folders: ContainerFolders;
  readonly guest: ContainerGuest;
  readonly connectAgent: ConnectAgent;
  readonly logger: Logger;
}

/** The guest's kernel says only what is wrong. */
const KERNEL_WORDS = 'quiet loglevel=4';
/** The agent brings the other CPUs up: see guest-images/agent/processors.h. */
const LATE_CPUS = 'maxcpus=1';
/** How many networks a running container can join beyond those that it starts with. */
const SPARE_WINDOWS = 4;
const CONSOLE_BYTES = 16 * 1024;
/** Time for a guest to boot; on hosts without hardware virtualization it may be slow. */
const BOOT_PATIENCE_MS = 120_000;
/** Time for a guest to write everything back and power off. */
const SHUTDOWN_PATIENCE_MS = 10_000;

export class MachineStarter {
  readonly #options: MachineStarterOptions;
  readonly #booting = Promise.withResolvers<void>();

  constructor(options: MachineStarterOptions) {
    this.#options = options;
  }

  /** Resolves when the first machine has been started, or could not be. */
  get booting(): Promise<void> {
    return this.#booting.promise;
  }

  /** @throws TsvmError, AgentError; nothing is left then */
  async start(config: ContainerConfig): Promise<ContainerMachine> {
    const parts: MachinePart[] = [];
    try {
      return await this.#start(config, parts);
    } catch (error) {
      for (const part of parts) await part.release?.();
      throw error;
    } finally {
      this.#booting.resolve();
    }
  }

  async #start(config: ContainerConfig, parts: MachinePart[]): Promise<ContainerMachine> {
    const { connectAgent, folders, guest, images, logger } = this.#options;
    const prepared = await Promise.allSettled([prepareVolumes(config), prepareNetworks(config)]);
    for (const part of prepared) if (part.status === 'fulfilled') parts.push(part.value);
    for (const part of prepared) if (part.status === 'rejected') throw part.reason;
    const { id, layers, storageBytes } = config;
    const writable = await ensureWritableLayer(folders, id, storageBytes);
    const root = rootfsDisk(layers, images.folders);
    const [metadata = ''] = root.files;
    const console = new GuestConsole();
    // The image's files are open when the machine is made.
    const machine = await images.withContent(() =>
      bootMachine(
        machineConfig(config, guest, parts, [
          root,
          { path: writable, format: 'qcow2', backing: 'allow' },
        ]),
        { console, logger },
      ),
    );
    const running = new RunningMachine(machine, parts, logger);
    try {
      const { vsock } = machine;
      if (vsock === undefined) throw new Error('the machine has no vsock device');
      for (const part of parts) part.started?.(machine);
      const waiting = new AbortController();
      const signal = AbortSignal.any([waiting.signal, AbortSignal.timeout(BOOT_PATIENCE_MS)]);
      const connected = connectAgent(vsock, { signal });
      machine.start();
      this.#booting.resolve();
      const ended = machine.ended.then((end) => {
        connected.catch(() => {});
        waiting.abort();
        const reason = 'message' in end ? end.message : end.reason;
        throw new TsvmError(
          'container-failed',
          `its machine ended while it started (${reason}): ${console.text()}`,
        );
      });
      const agent = await Promise.race([connected, ended]);
      ended.catch(() => {});
      running.agent = agent;
      await agent.assemble(containerRoot(config, statSync(metadata).size, parts));
      for (const part of parts) part.assembled?.(machine, agent);
      return running;
    } catch (error) {
      parts.length = 0;
      await running.close(false);
      throw error;
    }
  }
}

function machineConfig(
  { cpuCount, machineMemoryBytes }: ContainerConfig,
  { agentPath, kernelPath, modulesPath }: ContainerGuest,
  parts: readonly MachinePart[],
  disks: NonNullable<MachineConfig['disks']>,
): MachineConfig {
  return {
    kernelPath,
    modulesPath,
    initrdPath: agentPath,
    disks,
    nets: parts.flatMap(({ nets = [] }) => nets),
    shares: parts.flatMap(({ shares = [] }) => shares),
    cpus: cpuCount,
    memoryBytes: machineMemoryBytes,
    // Memory that the guest frees goes back to the host.
    balloon: true,
    vsock: {},
    spareWindows: SPARE_WINDOWS,
    sandbox: true,
    appendCmdline: cpuCount > 1 ? `${KERNEL_WORDS} ${LATE_CPUS}` : KERNEL_WORDS,
  };
}

class RunningMachine implements ContainerMachine {
  readonly #machine: MachineHandle;
  readonly #parts: readonly MachinePart[];
  readonly #logger: Logger;
  #agent: Agent | undefined;
  #closing: Promise<void> | undefined;

  constructor(machine: MachineHandle, parts: readonly MachinePart[], logger: Logger) {
    this.#machine = machine;
    this.#parts = [...parts];
    this.#logger = logger;
  }

  get facts(): Readonly<Record<string, unknown>> {
    return Object.assign({}, ...this.#parts.map(({ facts = {} }) => facts));
  }

  get networks(): RunningNetworks | undefined {
    return this.#parts.find(({ networks }) => networks !== undefined)?.networks;
  }

  get agent(): Agent {
    if (this.#agent === undefined) throw new Error('the agent is not connected yet');
    return this.#agent;
  }

  set agent(agent: Agent) {
    this.#agent = agent;
  }

  get ended(): MachineHandle['ended'] {
    return this.#machine.ended;
  }

  pause(): Promise<void> {
    return this.#machine.pause();
  }

  resume(): void {
    this.#machine.resume();
  }

  close(keep: boolean): Promise<void> {
    this.#closing ??= this.#close(keep);
    return this.#closing;
  }

  async #close(keep: boolean): Promise<void> {
    try {
      if (keep && this.#machine.state === 'running') await this.#shutDown();
      await this.#machine.close();
    } finally {
      for (const part of this.#parts) await part.release?.();
    }
  }

  /** The guest writes everything back; if it does not, its journal repairs what is on the disk. */
  async #shutDown(): Promise<void> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const error = new Error('the guest did not shut down in time');
    const timer = setTimeout(() => reject(error), SHUTDOWN_PATIENCE_MS);
    try {
      await Promise.race([this.agent.shutdown(), this.ended, late]);
      await Promise.race([this.ended, late]);
    } catch (cause) {
      this.#logger.warn(errorText(cause));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The last that a guest's kernel has said. */
class GuestConsole {
  readonly #ring = new OutputRing(CONSOLE_BYTES);

  write(bytes: Uint8Array): boolean {
    this.#ring.write(bytes);
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  startInput(): void {}

  resumeInput(): void {}

  text(): string {
    const bytes: Uint8Array[] = [];
    for (let at = this.#ring.start; at < this.#ring.end; ) {
      const piece = this.#ring.read(at, CONSOLE_BYTES);
      bytes.push(piece);
      at += piece.byteLength;
    }
    return Buffer.concat(bytes)
      .toString('latin1')
      .replace(/[^\x20-\x7e\n]/g, '');
  }
}
