import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { SUPERVISOR_COMMAND } from '../../programs.ts';

/** The descriptor of the channel in the supervisor's process. */
export const CHANNEL_FD = 3;

/** A process that is to run a container, and the connection of its first client. */
export interface SpawnedSupervisor {
  readonly socket: Duplex;
  /** Ends it, if the container cannot be made. */
  abandon(): void;
}

/**
 * Starts the process that runs a container. It is a session of its own and outlives this one. It waits
 * for a {@link StartMessage}, and prepares what it can until then.
 */
export function spawnSupervisor(id: string): SpawnedSupervisor {
  const [, program = ''] = process.argv;
  const child = spawn(process.execPath, [...process.execArgv, program, SUPERVISOR_COMMAND, id], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  child.on('error', () => {});
  child.unref();
  const socket = child.stdio[CHANNEL_FD] as Duplex;
  return { socket, abandon: () => child.kill('SIGKILL') };
}

/** The first message to a supervisor. */
export interface StartMessage {
  readonly type: 'start';
  /** The streams that the sender wants. */
  readonly streams: readonly string[];
  readonly columns?: number;
  readonly rows?: number;
}
