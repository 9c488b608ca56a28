/** Archives of a container, carried over connections of its API. */
import { type Duplex, pipeline, type Readable } from 'node:stream';
import { type Agent, AgentError, type PathStat } from '../../container/agent/agent.ts';

export interface ArchiveQuery {
  readonly of: 'changes' | 'root';
}

/** Null when there is no such path. */
export async function existingPath(agent: Agent, path: string): Promise<PathStat | null> {
  try {
    return await agent.pathStat(path);
  } catch (error) {
    if (error instanceof AgentError && error.code === 'path-not-found') return null;
    throw error;
  }
}

/** @throws AgentError */
export function openArchive(agent: Agent, { of }: ArchiveQuery): Promise<Readable> {
  return of === 'changes' ? agent.upperArchive() : agent.rootArchive();
}

/**
 * An archive that breaks off breaks the connection off: its end is not there.
 * @param onEnd it has been sent, or its reader has gone
 */
export function sendArchive(archive: Readable, socket: Duplex, onEnd: () => void): void {
  pipeline(archive, socket, onEnd);
}
