/** The machine of a container: from its configuration to an agent that has assembled its root. */
import { existsSync, statSync } from 'node:fs';
import { errorText, TsvmError } from '../../errors.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import type { Logger } from '../../observability/logger.ts';
import { hasCode } from '../../util/error-code.ts';
import { AGENT_PORT, type Agent, type ContainerRoot } from '../agent/agent.ts';
import { listenForAgent } from '../agent/agent-socket.ts';
import { prepareNetworks } from '../networks/container-networks.ts';
import type { RunningNetworks } from '../networks/running-networks.ts';
import { rootfsDisk } from '../rootfs/rootfs-disk.ts';
import type { ImageStore } from '../store/image-store.ts';
import { prepareVolumes } from '../volumes/container-volumes.ts';
import {
  type ContainerGuest,
  deviceMac,
  type EmptyLayer,
  layerDisk,
  type MachineParts,
  netsOf,
  type TemplateShape,
  templatedShape,
} from '../warm-start/machine-shape.ts';
import { layerPath, type MachineTemplates } from '../warm-start/machine-templates.ts';
import { bringUpMachine, type ConnectAgent } from './bring-up.ts';
import type { ContainerConfig } from './container-config.ts';
import type { ContainerFolders } from './container-folders.ts';
import type { ContainerMachine } from './container-machine.ts';
import type { MachinePart } from './machine-part.ts';
import { containerRoot } from './process-specs.ts';
import { copyLayer, ensureEmptyLayer } from './writable-layer.ts';

export interface MachineStarterOptions {
  readonly images: ImageStore;
  readonly folders: ContainerFolders;
  readonly guest: ContainerGuest;
  readonly connectAgent: ConnectAgent;
  /** Undefined: every machine boots. */
  readonly templates?: MachineTemplates | undefined;
  readonly logger: Logger;
}

/** Time for a guest to write everything back and power off, on a host that may be busy. */
const SHUTDOWN_PATIENCE_MS = 30_000;

export class MachineStarter {
  readonly #options: MachineStarterOptions;
  readonly #booting = Promise.withResolvers<void>();
  #wanted: TemplateShape | undefined;

  constructor(options: MachineStarterOptions) {
    this.#options = options;
  }

  /** Resolves when the first machine has been started, or could not be. */
  get booting(): Promise<void> {
    return this.#booting.promise;
  }

  /** The machine that was started last could have gone on from a template, if there were one. */
  get wantedTemplate(): TemplateShape | undefined {
    const wanted = this.#wanted;
    return wanted !== undefined && this.#options.templates?.wants(wanted) ? wanted : undefined;
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
    const { folders, guest, images, logger } = this.#options;
    const prepared = await Promise.allSettled([prepareVolumes(config), prepareNetworks(config)]);
    for (const part of prepared) if (part.status === 'fulfilled') parts.push(part.value);
    for (const part of prepared) if (part.status === 'rejected') throw part.reason;
    const { id, layers, storageBytes } = config;
    const root = rootfsDisk(layers, images.folders);
    const [metadata = ''] = root.files;
    const machineParts: MachineParts = {
      disks: [root, layerDisk(folders.writable(id))],
      nets: parts.flatMap(({ nets = [] }) => nets),
      shares: parts.flatMap(({ shares = [] }) => shares),
    };
    const shape = { guest, cpus: config.cpuCount, memoryBytes: config.machineMemoryBytes };
    const isNew = !existsSync(folders.writable(id));
    const emptyLayer = isNew ? await ensureEmptyLayer(folders, storageBytes) : undefined;
    const templated = templatedShape(shape, machineParts, emptyLayer);
    let template = templated && this.#options.templates?.find(templated);
    if (emptyLayer !== undefined) template = this.#makeLayer(id, emptyLayer, template);
    const { agent, machine, restored } = await bringUpMachine(shape, machineParts, {
      ...this.#options,
      template,
      // The image's files are open when the machine is made.
      opening: (make) => images.withContent(make),
      onStarted: this.#booting.resolve,
    });
    if (!restored) this.#wanted = templated;
    const running = new RunningMachine(machine, agent, parts, logger);
    try {
      for (const part of parts) part.started?.(machine);
      machine.vsock?.publish(await listenForAgent(folders.process(id)), AGENT_PORT);
      const contents = containerRoot(config, statSync(metadata).size, parts);
      const assembled = agent.assemble(
        restored ? withDeviceMacs(contents, machineParts) : contents,
      );
      await Promise.race([assembled, withoutShares(machine)]);
      for (const part of parts) part.assembled?.(machine, agent);
      return running;
    } catch (error) {
      parts.length = 0;
      await running.close(false);
      throw error;
    }
  }

  /**
   * Makes the writable layer of a new container.
   * @param template whose guest has mounted the layer; undefined: there is none
   * @returns the same, or undefined if it is gone
   */
  #makeLayer(id: string, empty: EmptyLayer, template: string | undefined): string | undefined {
    const { folders } = this.#options;
    if (template !== undefined) {
      try {
        copyLayer(layerPath(template), folders, id);
        return template;
      } catch (error) {
        // Another process has removed the template.
        if (!hasCode(error, 'ENOENT')) throw error;
      }
    }
    copyLayer(empty.imagePath, folders, id);
    return undefined;
  }
}

/** Rejects if virtiofsd fails: a guest's mount of its files then waits for ever. */
async function withoutShares({ controls }: MachineHandle): Promise<never> {
  const reason = await (controls.backendFailed ?? new Promise<never>(() => {}));
  throw new TsvmError('container-failed', `its folders and volumes are gone (${reason})`);
}

/** Each interface gets its address from the agent. */
function withDeviceMacs(root: ContainerRoot, parts: MachineParts): ContainerRoot {
  const { early } = netsOf(parts);
  const interfaces = root.interfaces?.map((link) => {
    const index = early.findIndex(({ mac }) => mac === link.mac);
    return index < 0 ? link : { ...link, deviceMac: deviceMac(index) };
  });
  return { ...root, interfaces };
}

class RunningMachine implements ContainerMachine {
  readonly agent: Agent;
  readonly #machine: MachineHandle;
  readonly #parts: readonly MachinePart[];
  readonly #logger: Logger;
  #closing: Promise<void> | undefined;

  constructor(machine: MachineHandle, agent: Agent, parts: readonly MachinePart[], logger: Logger) {
    this.#machine = machine;
    this.agent = agent;
    this.#parts = [...parts];
    this.#logger = logger;
  }

  get facts(): Readonly<Record<string, unknown>> {
    return Object.assign({}, ...this.#parts.map(({ facts = {} }) => facts));
  }

  get networks(): RunningNetworks | undefined {
    return this.#parts.find(({ networks }) => networks !== undefined)?.networks;
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

  stop(): void {
    this.#machine.stop();
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
