/**
 * Sends random bytes to an echo server, closes its sending side, and reads the echo slowly. Prints
 * `echoed N` if all N bytes came back. Arguments: address, port, bytes.
 */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout } from 'node:timers/promises';

const [, , address = '', port = '', bytes = ''] = process.argv;
const data = randomBytes(Number(bytes));
const socket = connect({ host: address, port: Number(port), allowHalfOpen: true });
socket.end(data);
const received: Buffer[] = [];
for await (const chunk of socket) {
  received.push(chunk as Buffer);
  await setTimeout(1);
}
const whole = Buffer.concat(received).equals(data);
process.stdout.write(whole ? `echoed ${data.length}\n` : 'the echo differs\n');
