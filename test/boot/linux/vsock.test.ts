/** virtio-vsock with Linux in the guest: by socket files and by streams of this process. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { TsvmError } from '../../../vmm/index.ts';
import {
  bootVsockGuest,
  CLOSING_PORT,
  ECHO_PORT,
  SUM_PORT,
  type VsockGuest,
  ZEROES_PORT,
} from '../../support/vsock-guest.ts';

/** Fewer where this process may not open enough files: a quarter of them can be connections. */
const MANY = Math.min(2000, Math.floor(openFilesMax() / 4) - 50);
const MIB = 2 ** 20;

/** Of this process. Node has raised the soft limit to the hard one. */
function openFilesMax(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? 1024);
}

/** Connects as a host program does: by the socket file. */
async function dialFile(path: string, port: number): Promise<{ socket: Socket; hostPort: number }> {
  const socket = connect({ path, allowHalfOpen: true });
  socket.write(`CONNECT ${port}\n`);
  await once(socket, 'readable');
  const line = String(socket.read());
  const [, hostPort] = /^OK (\d+)\n$/.exec(line) ?? [];
  assert.ok(hostPort !== undefined, `the answer is "${line}"`);
  return { socket, hostPort: Number(hostPort) };
}

async function echoed(stream: Duplex, bytes: Uint8Array): Promise<void> {
  stream.end(bytes);
  assert.ok((await buffer(stream)).equals(bytes), 'the same bytes come back');
}

function sumOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum + byte, 0);
}

/** A server on the socket file of a port. */
async function serveFile(
  t: TestContext,
  guest: VsockGuest,
  port: number,
  serve: (s: Socket) => void,
) {
  const server = createServer({ allowHalfOpen: true }, serve);
  server.listen({ path: `${guest.socketPath}_${port}`, backlog: 16 });
  await once(server, 'listening');
  t.after(() => server.close());
}

test('vsock', async (t) => {
  const guest = await bootVsockGuest(t);
  const { machine, ports, socketPath } = guest;

  await t.test('a host program reaches a port by the socket file, with half-close', async () => {
    const { socket, hostPort } = await dialFile(socketPath, ECHO_PORT);
    assert.ok(hostPort >= 2 ** 30, `${hostPort}`);
    await echoed(socket, randomBytes(3 * MIB + 17));
  });

  await t.test('data that follows CONNECT in the same write arrives', async () => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    socket.end(`CONNECT ${SUM_PORT}\nabc`);
    assert.match(await text(socket), /^OK \d+\n3 294\n$/);
  });

  await t.test(
    'a port that nobody listens on, and a line that is no request, end the stream',
    async () => {
      for (const line of ['CONNECT 9999\n', 'CONNECT\n', 'CONNECT 4294967296\n', 'HELLO\n']) {
        const socket = connect({ path: socketPath, allowHalfOpen: true });
        socket.write(line);
        assert.equal(await text(socket), '', line.trim());
        socket.destroy();
      }
    },
  );

  await t.test('the guest reaches the socket file of a port', async (t2) => {
    await serveFile(t2, guest, 5000, (socket) => socket.pipe(socket));
    assert.equal(await guest.command(`echo 5000 ${5 * MIB + 3}`), `echo ${5 * MIB + 3}`);
  });

  await t.test('ECONNRESET in the guest where nobody listens', async () => {
    assert.equal(await guest.command('dial 5999'), 'dial 104');
  });

  await t.test('streams of this process: both ways, without a file', async () => {
    await echoed(await ports.connect(ECHO_PORT), randomBytes(8 * MIB + 1));
    const stop = ports.listen(6000, (stream) => stream.pipe(stream));
    assert.equal(await guest.command(`echo 6000 ${6 * MIB + 5}`), `echo ${6 * MIB + 5}`);
    stop();
    assert.equal(await guest.command('dial 6000'), 'dial 104');
    await assert.rejects(ports.connect(9999), (error) => {
      return error instanceof TsvmError && error.code === 'connection-refused';
    });
  });

  await t.test('a guest that closes at once ends the stream', async () => {
    const stream = await ports.connect(CLOSING_PORT);
    assert.equal(await text(stream), '');
    stream.destroy();
  });

  await t.test('back-pressure stalls one connection only, and loses nothing', async () => {
    // Nobody reads these: their writer in the guest stops when the buffers are full.
    const stalled = await Promise.all(Array.from({ length: 4 }, () => ports.connect(ZEROES_PORT)));
    const { socket } = await dialFile(socketPath, ECHO_PORT);
    await echoed(socket, randomBytes(4 * MIB));
    const bytes = () => machine.statistics()['vsock']?.['txBytes'] ?? 0;
    let before = -1;
    while (bytes() !== before) {
      before = bytes();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    for (const stream of stalled) {
      const [chunk] = (await once(stream, 'data')) as [Buffer];
      assert.ok(chunk.every((byte) => byte === 0));
      stream.destroy();
    }
    // The other way: the guest's program does not read while the host writes.
    const sum = await ports.connect(SUM_PORT);
    const data = randomBytes(2 * MIB);
    sum.end(data);
    assert.equal(await text(sum), `${data.length} ${sumOf(data)}\n`);
  });

  await t.test(`${MANY} connections at a time, each with its own data`, async () => {
    const streams = await Promise.all(Array.from({ length: MANY }, () => ports.connect(ECHO_PORT)));
    await Promise.all(streams.map((stream, i) => echoed(stream, Buffer.from(`${i} `.repeat(50)))));
  });

  await t.test(
    `${MANY} connections from the guest, more than the listener's backlog`,
    async (t2) => {
      const sockets: Socket[] = [];
      await serveFile(t2, guest, 5001, (socket) => sockets.push(socket));
      assert.equal(await guest.command(`hold 5001 ${MANY}`), `hold ${MANY}`);
      for (const socket of sockets) socket.destroy();
    },
  );

  await t.test('a pause keeps connections', async () => {
    const stream = await ports.connect(ECHO_PORT);
    stream.write('before ');
    await once(stream, 'readable');
    await machine.pause();
    stream.end('after');
    machine.resume();
    assert.equal(await text(stream), 'before after');
  });

  await t.test('nothing is left when the machine is closed', async () => {
    const open = await ports.connect(ECHO_PORT);
    const [connections, closed] = [open, once(open, 'close')];
    assert.ok(existsSync(socketPath));
    await machine.close();
    connections.resume();
    connections.end();
    await closed;
    assert.ok(!existsSync(socketPath));
  });
});
