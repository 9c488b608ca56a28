/** Published TCP ports of containers, in real machines: what clients and servers see of each other. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';
import { freePort } from '../support/free-port.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);

before(() => shell.addImage('tools', {}, []));
after(() => shell.close());

/** A running container whose port 80 is published. The command runs in a shell. */
async function serve(name: string, command: string): Promise<number> {
  const port = await freePort();
  await ok(`tsvm run -d --name ${name} -p ${port}:80 tools sh -c '${command}'`);
  await shell.untilListening(name, 80);
  return port;
}

function dial(port: number, host = '127.0.0.1'): Socket {
  return connect({ port, host, allowHalfOpen: true });
}

async function allOf(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

test('a server that speaks first is heard before the client says anything', async () => {
  const port = await serve(
    'first',
    'nc -ll -p 80 -e sh -c "echo 220 ready; read line; echo got \\$line"',
  );
  for (const host of ['127.0.0.1', '::1']) {
    const client = dial(port, host);
    const [greeting] = await once(client, 'data', { signal: AbortSignal.timeout(60_000) });
    assert.equal(String(greeting), '220 ready\n');
    client.write('HELO\n');
    assert.equal(await allOf(client), 'got HELO\n');
  }
  await ok('tsvm rm -f first');
});

test('the end of the client’s stream leaves the server’s open, and large streams arrive whole', async () => {
  const port = await serve('half', 'nc -ll -p 80 -e sh -c "md5sum; head -c 3000000 /dev/zero"');
  const client = dial(port);
  const sent = Buffer.alloc(3_000_000, 'x');
  const md5 = createHash('md5').update(sent).digest('hex');
  client.end(sent);
  const answer = await allOf(client);
  assert.match(answer, new RegExp(`^${md5} {2}-\n`));
  assert.equal(answer.length, 32 + 4 + 3_000_000);
  await ok('tsvm rm -f half');
});

test('a reader that takes nothing for 16 s gets all of it afterwards', async () => {
  const port = await serve('slow', 'nc -ll -p 80 -e head -c 20000000 /dev/zero');
  const client = dial(port);
  await once(client, 'connect');
  client.pause();
  await new Promise((resolve) => setTimeout(resolve, 16_000));
  assert.equal((await allOf(client)).length, 20_000_000);
  await ok('tsvm rm -f slow');
});

test('servers on loopback, on the container’s own address and on IPv6 alone are reached', async () => {
  for (const [name, address] of [
    ['loop', '127.0.0.1'],
    ['own', '10.0.2.15'],
    ['six', '[::1]'],
  ] as const) {
    const port = await serve(name, `httpd -f -p ${address}:80 -h /`);
    const client = dial(port);
    client.end('GET / HTTP/1.0\r\n\r\n');
    assert.match(await allOf(client), /^HTTP\/1\.[01] 404 /);
    await ok(`tsvm rm -f ${name}`);
  }
});

test('a port that nobody serves resets its clients, and is refused once the container has ended', async () => {
  const port = await freePort();
  await ok(`tsvm run -d --name idle -p ${port}:80 tools sleep 1000`);
  const [reset] = await once(dial(port), 'error');
  assert.equal((reset as NodeJS.ErrnoException).code, 'ECONNRESET');
  await ok('tsvm rm -f idle');
  const [refused] = await once(dial(port), 'error');
  assert.equal((refused as NodeJS.ErrnoException).code, 'ECONNREFUSED');
});

test('300 connections that are open at once', async () => {
  const port = await serve('many', 'nc -ll -p 80 -e cat');
  const clients: Socket[] = [];
  // One after the other, because the backlog of this server is 2.
  for (let number = 0; number < 300; number++) {
    const client = dial(port);
    client.write(`client ${number}`);
    const [echo] = await once(client, 'data', { signal: AbortSignal.timeout(60_000) });
    assert.equal(String(echo), `client ${number}`);
    clients.push(client);
  }
  const texts = clients.map((client, number) => {
    client.end(`end ${number}`);
    return allOf(client);
  });
  for (const [number, text] of texts.entries()) assert.equal(await text, `end ${number}`);
  await ok('tsvm rm -f many');
});
