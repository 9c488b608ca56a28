/**
 * Answers a container's questions about the containers on its networks, and about no others. The agent
 * passes them on, over vsock, as DNS does over TCP (RFC 7766): each message has its length before it. It
 * asks other name servers about what is refused here, unless only the host can reach these.
 */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import type { VsockPorts } from '../../backends/vsock/vsock-ports.ts';
import { NAME_PORTS } from '../agent/agent.ts';
import { askNameServers } from './ask-name-servers.ts';
import {
  answerTo,
  CODE,
  codeOf,
  type DnsRecord,
  encodeName,
  parseQuery,
  QUERY_BYTES_MAX,
  STREAM_BYTES_MAX,
  TYPE,
} from './dns-message.ts';
import { ipv4Number } from './ipv4-subnet.ts';
import type { NetworkNames } from './network-names.ts';

/** More than the agent ever has; a guest may have others. */
const CONNECTIONS_MAX = 64;
/** Questions at once to other name servers, of a connection. */
const PENDING_MAX = 128;
/** Addresses of a name that is answered, of 16 bytes each. */
const ADDRESSES_MAX = 4_000;
const REVERSE = /^(\d+)\.(\d+)\.(\d+)\.(\d+)\.in-addr\.arpa$/;

export class NameServer {
  readonly #networks: () => readonly NetworkNames[];
  readonly #others: readonly string[];
  readonly #connections = new Set<Duplex>();
  readonly #unlisten: (() => void)[] = [];

  /**
   * @param networks those that the container is on, in the order in which they are asked
   * @param others name servers on the host's loopback that know the outside
   */
  constructor(networks: () => readonly NetworkNames[], others: readonly string[] = []) {
    this.#networks = networks;
    this.#others = others;
  }

  listen(vsock: VsockPorts): void {
    this.#unlisten.push(
      vsock.listen(NAME_PORTS.streams, (stream) => this.#accept(stream, false)),
      vsock.listen(NAME_PORTS.datagrams, (stream) => this.#accept(stream, true)),
    );
  }

  close(): void {
    for (const unlisten of this.#unlisten.splice(0)) unlisten();
    for (const stream of this.#connections) stream.destroy();
  }

  /**
   * @param isDatagram the answer goes out over UDP, and is truncated if the client cannot take it
   * @returns undefined: none
   */
  answer(message: Buffer, isDatagram: boolean): Buffer | undefined {
    const query = parseQuery(message);
    if (query === undefined) return undefined;
    const bytesMax = isDatagram ? query.datagramBytes : STREAM_BYTES_MAX;
    if (query.problem !== CODE.OK) return answerTo(query, query.problem, [], bytesMax);
    const records = query.name === undefined ? undefined : this.#find(query.name, query.type);
    if (records === undefined) return answerTo(query, CODE.REFUSED, [], bytesMax);
    return answerTo(query, CODE.OK, records, bytesMax);
  }

  /** @returns undefined if there is no such name */
  #find(name: string, type: number): DnsRecord[] | undefined {
    const reverse = REVERSE.exec(name);
    const find = reverse === null ? addressRecords : nameRecords;
    const wanted = reverse === null ? name : reverse.slice(1).reverse().join('.');
    for (const network of this.#networks()) {
      const records = find(network, wanted);
      // A container that has no record of this type is no one else's.
      if (records.length > 0) return records.filter((record) => isWanted(record, type));
    }
    return undefined;
  }

  #accept(stream: Duplex, isDatagram: boolean): void {
    stream.on('error', () => {});
    if (this.#connections.size >= CONNECTIONS_MAX) {
      stream.destroy();
      return;
    }
    this.#connections.add(stream);
    stream.once('close', () => this.#connections.delete(stream));
    // Whatever fails is the connection's, which ends.
    this.#serve(stream, isDatagram)
      .catch(() => {})
      .finally(() => stream.destroy());
  }

  async #serve(stream: Duplex, isDatagram: boolean): Promise<void> {
    let pending = 0;
    const askOthers = async (message: Buffer, refusal: Buffer) => {
      pending++;
      const answer = await askNameServers(this.#others, message, !isDatagram);
      pending--;
      if (!stream.destroyed) stream.write(framed(answer ?? refusal));
    };
    for await (const message of messagesOf(stream)) {
      const answer = this.answer(message, isDatagram);
      if (answer === undefined) continue;
      if (this.#others.length > 0 && codeOf(answer) === CODE.REFUSED && pending < PENDING_MAX) {
        void askOthers(Buffer.from(message), answer);
        continue;
      }
      // The guest gets no further answers before it has taken those that wait.
      if (!stream.write(framed(answer)) || stream.writableNeedDrain) await once(stream, 'drain');
    }
  }
}

function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** @throws Error for a message that is too long */
async function* messagesOf(stream: Duplex): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 2) {
      const length = rest.readUInt16BE(0);
      if (length > QUERY_BYTES_MAX) throw new Error(`a question of ${length} bytes`);
      if (rest.length < 2 + length) break;
      yield rest.subarray(2, 2 + length);
      rest = rest.subarray(2 + length);
    }
  }
}

function isWanted(record: DnsRecord, type: number): boolean {
  return type === record.type || type === TYPE.ANY;
}

function addressRecords(network: NetworkNames, name: string): DnsRecord[] {
  const addresses = network.addressesOf(name).slice(0, ADDRESSES_MAX);
  return addresses.flatMap((address) => {
    const number = ipv4Number(address);
    if (number === undefined) return [];
    const data = Buffer.alloc(4);
    data.writeUInt32BE(number);
    return [{ type: TYPE.A, data }];
  });
}

function nameRecords(network: NetworkNames, address: string): DnsRecord[] {
  const name = network.nameOf(address);
  const data = name === undefined ? undefined : encodeName(name);
  return data === undefined ? [] : [{ type: TYPE.PTR, data }];
}
