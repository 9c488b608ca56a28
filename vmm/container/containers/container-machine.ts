import type { MachineEnd } from '../../machine/machine-end.ts';
import type { Agent } from '../agent/agent.ts';
import type { RunningNetworks } from '../networks/running-networks.ts';
import type { ContainerConfig } from './container-config.ts';

/** A machine that has a container's root and runs no process of it yet. */
export interface ContainerMachine {
  readonly agent: Agent;
  /** What volumes and networks tell of this run, as it is now. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** Undefined for a container without any. */
  readonly networks: RunningNetworks | undefined;
  readonly ended: Promise<MachineEnd>;
  pause(): Promise<void>;
  resume(): void;
  /** Ends the machine at once; {@link close} gives back what it had. */
  stop(): void;
  /**
   * Ends the machine and gives back everything it had. Idempotent.
   * @param keep whether what the container wrote is still wanted
   */
  close(keep: boolean): Promise<void>;
}

/** @throws TsvmError, AgentError; nothing is left then */
export type StartMachine = (config: ContainerConfig) => Promise<ContainerMachine>;
