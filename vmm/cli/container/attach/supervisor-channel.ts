import { spawn } from 'node:child_process';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { isContainerId } from '../../../container/containers/container-folders.ts';
import { newContainerId } from '../../../container/containers/container-name.ts';
import { FrameWriter } from '../../../container/containers/stream-frames.ts';
import { SUPERVISOR_COMMAND } from '../../programs.ts';

/** The descriptor of the channel in the supervisor's process. */
export const CHANNEL_FD = 3;
/** Set by kvm-addon/src/launch/launch.c: the descriptor of the channel and the container's ID. */
const VARIABLE = 'TSVM_SUPERVISOR';

/** A process that is to run a container, and the connection of its first client. */
export interface SpawnedSupervisor {
  /** Of the container. */
  readonly id: string;
  /** The supervisor ends if this does before a {@link StartMessage}. */
  readonly socket: Duplex;
}

/** The first message to a supervisor: its container is about to be made or started. */
export interface ClaimMessage {
  readonly type: 'claim';
}

/** The second message to a supervisor: the container is there. */
export interface StartMessage {
  readonly type: 'start';
  /** The streams that the sender wants. */
  readonly streams: readonly string[];
  readonly columns?: number;
  readonly rows?: number;
}

/**
 * Starts the process that runs a container, and has it take the container's lock. It is a session of its
 * own and outlives this one. It waits for a {@link StartMessage}, and prepares what it can until then.
 */
export function spawnSupervisor(id: string): SpawnedSupervisor {
  const [, program = ''] = process.argv;
  const words = [...process.execArgv, program, SUPERVISOR_COMMAND, id];
  const child = spawn(process.execPath, words, {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  child.on('error', () => {});
  child.unref();
  return claim(id, child.stdio[CHANNEL_FD] as Duplex);
}

/** As {@link spawnSupervisor}: that of a new container, which `bin/tsvm` may have started with this process. */
export function newSupervisor(): SpawnedSupervisor {
  const [fd = '', id = ''] = process.env[VARIABLE]?.split(' ') ?? [];
  delete process.env[VARIABLE];
  if (!isContainerId(id)) return spawnSupervisor(newContainerId());
  return claim(id, new Socket({ fd: Number(fd) }));
}

function claim(id: string, socket: Duplex): SpawnedSupervisor {
  // Whoever waits for an answer sees that it is closed.
  socket.on('error', () => {});
  const message: ClaimMessage = { type: 'claim' };
  new FrameWriter(socket).sendMessage(message);
  return { id, socket };
}
