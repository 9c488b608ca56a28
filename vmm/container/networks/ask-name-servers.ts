/** Questions to name servers that only the host can reach. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { HEADER_BYTES, parseQuery } from './dns-message.ts';

const DNS_PORT = 53;
/** How long a server may take. Clients wait for 5 s. */
const PATIENCE_MS = 1_500;

/**
 * Asks the servers in turn, until one answers.
 * @param query at least a header and a question
 * @param overTcp as the client did
 * @returns undefined if none answers
 */
export async function askNameServers(
  servers: readonly string[],
  query: Buffer,
  overTcp: boolean,
): Promise<Buffer | undefined> {
  const ask = overTcp ? askByTcp : askByUdp;
  // Nobody else is to know which answers are waited for.
  const ours = Buffer.from(query);
  ours.writeUInt16BE(randomInt(0x1_0000), 0);
  for (const server of servers) {
    const answer = await ask(server, ours);
    if (answer === undefined) continue;
    query.copy(answer, 0, 0, 2);
    return answer;
  }
  return undefined;
}

function isAnswer(answer: Buffer, query: Buffer): boolean {
  const question = parseQuery(query)?.question ?? Buffer.alloc(0);
  return (
    answer.length >= HEADER_BYTES + question.length &&
    ((answer[2] ?? 0) & 0x80) !== 0 &&
    answer.readUInt16BE(0) === query.readUInt16BE(0) &&
    answer.readUInt16BE(4) === 1 &&
    answer.subarray(HEADER_BYTES, HEADER_BYTES + question.length).equals(question)
  );
}

async function askByUdp(server: string, query: Buffer): Promise<Buffer | undefined> {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>();
  const socket = createSocket(isIPv6(server) ? 'udp6' : 'udp4');
  const timer = setTimeout(resolve, PATIENCE_MS, undefined);
  socket.on('error', () => resolve(undefined));
  socket.on('message', (answer) => {
    if (isAnswer(answer, query)) resolve(answer);
  });
  // Connected: nothing comes from others.
  socket.connect(DNS_PORT, server, () => socket.send(query));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

async function askByTcp(server: string, query: Buffer): Promise<Buffer | undefined> {
  const socket = connect({ host: server, port: DNS_PORT });
  const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  socket.write(Buffer.concat([length, query]));
  try {
    let answer = Buffer.alloc(0);
    for await (const chunk of socket) {
      answer = Buffer.concat([answer, chunk]);
      const end = answer.length < 2 ? Number.POSITIVE_INFINITY : 2 + answer.readUInt16BE(0);
      if (answer.length < end) continue;
      const message = answer.subarray(2, end);
      return isAnswer(message, query) ? message : undefined;
    }
    return undefined;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}
