/** Archives of a container, carried over connections of its API. */
import { type Duplex, PassThrough, pipeline, type Readable } from 'node:stream';
import { type Agent, AgentError, type PathStat } from '../../container/agent/agent.ts';

export interface ArchiveQuery {
  readonly of: 'path' | 'changes' | 'root';
  readonly path?: string | undefined;
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
export function openArchive(agent: Agent, { of, path = '/' }: ArchiveQuery): Promise<Readable> {
  if (of === 'path') return agent.readArchive(path);
  return of === 'changes' ? agent.upperArchive() : agent.rootArchive();
}

/**
 * An archive that breaks off breaks the connection off: its end is not there.
 * @param onEnd it has been sent, or its reader has gone
 */
export function sendArchive(archive: Readable, socket: Duplex, onEnd: () => void): void {
  pipeline(archive, socket, onEnd);
}

/** Answers with a line of JSON when the archive has been taken, or could not be. */
export function receiveArchive(socket: Duplex, take: (archive: Readable) => Promise<void>): void {
  const answer = (result: object) => {
    socket.end(`${JSON.stringify(result)}\n`);
    // What is left unread when it is closed would take the answer with it.
    socket.resume();
  };
  // The client ends its direction before the answer.
  socket.allowHalfOpen = true;
  // Whoever reads a stream to its end closes it, and with a socket the way of the answer.
  const archive = socket.pipe(new PassThrough());
  socket.on('error', (error) => archive.destroy(error));
  take(archive).then(
    () => answer({}),
    (error: unknown) => answer({ message: error instanceof Error ? error.message : String(error) }),
  );
}
