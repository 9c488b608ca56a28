import type { MachineConfig } from '../../machine/config.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import type { Agent, ContainerInterface, ContainerMount, NameSettings } from '../agent/agent.ts';
import type { RunningNetworks } from '../networks/running-networks.ts';

type Nets = NonNullable<MachineConfig['nets']>;
type Shares = NonNullable<MachineConfig['shares']>;

/**
 * What volumes or networks add to the machine of a container. Made anew for each start, in the
 * supervisor's process, before the machine.
 */
export interface MachinePart {
  readonly shares?: Shares;
  readonly nets?: Nets;
  readonly mounts?: readonly ContainerMount[];
  readonly interfaces?: readonly ContainerInterface[];
  /** TCP ports of the container that the host's clients are led to by vsock. */
  readonly publishedPorts?: readonly number[];
  /** Content of /etc/hosts, and how names are resolved; the networks' part gives both. */
  readonly hosts?: string;
  readonly names?: NameSettings;
  /** What `inspect` shows of this run, as JSON: addresses, the ports that were chosen. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** The machine runs; the agent has not been asked to assemble anything yet. */
  started?(machine: MachineHandle): void;
  /** The agent has assembled the container; nothing of it runs yet. */
  assembled?(machine: MachineHandle, agent: Agent): void;
  /** Joins networks and leaves them while the container runs; the networks' part has it. */
  readonly networks?: RunningNetworks;
  /** Gives back everything that was prepared. Called once, also after a failed start. */
  release?(): Promise<void>;
}
