/**
 * The agent's socket: a file in the folder of a container's process, each connection to which is one to
 * the guest agent. Archives pass by it between other processes and the guest, without a copy in any
 * JavaScript. Its name has the protocol's version, as the client may be newer than the container's
 * process.
 */
import { closeSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { makePipe, pumpArchive } from '../../host/archive-pump.ts';
import { withShortPath } from '../../host/short-path.ts';
import { connectUnix, listenUnix } from '../../host/unix-sockets.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { AgentError, type WriteArchiveOptions } from './agent.ts';
import { errorOf } from './field-reader.ts';
import { lost } from './guest-connection.ts';
import { FRAME, PROTOCOL_VERSION } from './protocol.ts';
import { pathFields, writeArchiveFields } from './requests.ts';

/** An archive in a pipe. */
export interface ArchivePipe {
  /** To read from; the reader closes it. */
  readonly fd: number;
  /**
   * Bytes of the archive, once it is whole. Rejects with {@link AgentError}, or with NativeError `EPIPE`
   * if the reader has closed the pipe before.
   */
  readonly done: Promise<number>;
}

function agentSocketPath(folder: string): string {
  return join(folder, `agent-${PROTOCOL_VERSION}.sock`);
}

/** @returns a listening socket, for the machine's vsock device */
export async function listenForAgent(folder: string): Promise<number> {
  const path = agentSocketPath(folder);
  // That of an earlier machine.
  rmSync(fsPath(path), { force: true });
  return await withShortPath(path, async (short) => listenUnix(short));
}

/** An archive of a path in the container. @throws AgentError when its process cannot be reached */
export async function readArchive(folder: string, path: string): Promise<ArchivePipe> {
  const connection = await connect(folder);
  const [fd, writer] = makePipe();
  const close = () => {
    closeSync(writer);
    closeSync(connection);
  };
  try {
    writeSync(connection, pathFields(path).frame(FRAME.READ_ARCHIVE));
  } catch (error) {
    close();
    closeSync(fd);
    throw lost(String(error));
  }
  const done = answered(connection, writer, 'out').finally(close);
  // It may be awaited later than it is rejected.
  done.catch(() => {});
  return { fd, done };
}

/**
 * Unpacks an archive, which is read from a file that can be polled, in a folder of the container.
 * @returns its bytes
 * @throws AgentError
 */
export async function writeArchive(
  folder: string,
  path: string,
  fd: number,
  options: WriteArchiveOptions,
): Promise<number> {
  const connection = await connect(folder);
  try {
    writeSync(connection, writeArchiveFields(path, options).frame(FRAME.WRITE_ARCHIVE));
    return await answered(connection, fd, 'in');
  } finally {
    closeSync(connection);
  }
}

async function connect(folder: string): Promise<number> {
  try {
    return await withShortPath(agentSocketPath(folder), async (path) => connectUnix(path));
  } catch (error) {
    const isOther = hasCode(error, 'ENOENT');
    const reason = isOther ? 'another version of tsvm has started it: restart it' : String(error);
    throw lost(`the container's process cannot be reached (${reason})`);
  }
}

async function answered(connection: number, pipe: number, direction: 'in' | 'out') {
  try {
    const answer = await pumpArchive(connection, pipe, direction);
    if (answer.type === FRAME.ERROR) throw errorOf(Buffer.from(answer.payload));
    if (!answer.whole) throw lost('the archive breaks off');
    return answer.moved;
  } catch (error) {
    if (error instanceof AgentError || hasCode(error, 'EPIPE')) throw error;
    if (hasCode(error, 'ECONNRESET')) throw lost('the container has ended meanwhile');
    if (hasCode(error, 'ETIMEDOUT')) throw lost('the guest agent does not answer');
    throw lost(String(error));
  }
}
