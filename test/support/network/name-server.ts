/**
 * A name server that gives the same answer to every A query. Arguments: address to listen on, answer.
 */
import { createSocket } from 'node:dgram';

const [, , listen = '', answer = ''] = process.argv;
const HEADER_BYTES = 12;
const TYPE_A = 1;

const socket = createSocket('udp4');
socket.on('message', (query, from) => {
  const questionEnd = query.indexOf(0, HEADER_BYTES) + 5;
  const isA = query.readUInt16BE(questionEnd - 4) === TYPE_A;
  const header = Buffer.from(query.subarray(0, HEADER_BYTES));
  header.writeUInt16BE(0x8180, 2); // a response, recursion available
  header.writeUInt16BE(isA ? 1 : 0, 6);
  const record = Buffer.from([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
  const address = Buffer.from(answer.split('.').map(Number));
  const answers = isA ? [record, address] : [];
  socket.send(
    Buffer.concat([header, query.subarray(HEADER_BYTES, questionEnd), ...answers]),
    from.port,
    from.address,
  );
});
socket.bind(53, listen, () => process.stdout.write('ready\n'));
