import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import type { ContainerStore } from '../../../container/containers/container-store.ts';
import { SUPERVISOR_COMMAND } from '../../programs.ts';

/** The descriptor of the channel in the supervisor's process. */
export const CHANNEL_FD = 3;

/** A process that is to run a container, and the connection of its first client. */
export interface SpawnedSupervisor {
  readonly socket: Duplex;
  /** The container's folder is there: the process's messages are kept in it. */
  keepLog(): void;
  /** Ends it, if the container cannot be made. */
  abandon(): void;
}

/**
 * Starts the process that runs a container. It is a session of its own and outlives this one. It waits
 * for a {@link StartMessage}, and prepares what it can until then.
 */
export function spawnSupervisor({ folders }: ContainerStore, id: string): SpawnedSupervisor {
  const [, program = ''] = process.argv;
  // The folder of a new container does not exist yet.
  const path = folders.supervisorLog(id);
  const draft = existsSync(folders.container(id)) ? path : folders.logDraft(id);
  mkdirSync(folders.root, { recursive: true, mode: 0o700 });
  const log = openSync(draft, 'w', 0o600);
  const words = [...process.execArgv, program, SUPERVISOR_COMMAND, id];
  const child = spawn(process.execPath, words, {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', log, 'pipe'],
  });
  closeSync(log);
  child.on('error', () => {});
  child.unref();
  const socket = child.stdio[CHANNEL_FD] as Duplex;
  return {
    socket,
    keepLog: () => renameSync(draft, path),
    abandon: () => {
      child.kill('SIGKILL');
      rmSync(draft, { force: true });
    },
  };
}

/** The first message to a supervisor. */
export interface StartMessage {
  readonly type: 'start';
  /** The streams that the sender wants. */
  readonly streams: readonly string[];
  readonly columns?: number;
  readonly rows?: number;
}
