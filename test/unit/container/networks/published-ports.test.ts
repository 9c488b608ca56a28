import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server } from 'node:net';
import { type TestContext, test } from 'node:test';
import { portLines, portsColumn, portsMap } from '../../../../vmm/container/networks/ports-text.ts';
import { publishPorts } from '../../../../vmm/container/networks/published-ports.ts';
import { UdpRelay } from '../../../../vmm/container/networks/udp-relay.ts';
import { TsvmError } from '../../../../vmm/errors.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

function ownRuntime(t: TestContext): void {
  const before = process.env['TSVM_RUNTIME_FOLDER'];
  process.env['TSVM_RUNTIME_FOLDER'] = temporaryFolder(t);
  t.after(() => {
    if (before === undefined) delete process.env['TSVM_RUNTIME_FOLDER'];
    else process.env['TSVM_RUNTIME_FOLDER'] = before;
  });
}

async function listening(t: TestContext, host: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.pipe(socket));
  await once(server.listen({ host, port: 0, ipv6Only: true }), 'listening');
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { server, port: address.port };
}

const binding = (hostPort: string, hostAddress = '') => ({ hostAddress, hostPort });
const settings = (ports: Record<string, readonly { hostAddress: string; hostPort: string }[]>) => ({
  ports,
  exposed: Object.keys(ports),
  publishAll: false,
});

test('a port is published on loopback of both families, unless an address is given', async (t) => {
  ownRuntime(t);
  const ports = await publishPorts(
    settings({ '80/tcp': [binding('')], '53/udp': [binding('', '127.0.0.1')] }),
    'box',
  );
  t.after(() => ports.release());
  const web = ports.published.filter(({ port }) => port === '80/tcp');
  assert.deepEqual(
    web.map(({ hostAddress }) => hostAddress),
    ['127.0.0.1', '::1'],
  );
  assert.equal(web[0]?.hostPort, web[1]?.hostPort);
  const udp = ports.published.filter(({ port }) => port === '53/udp');
  assert.deepEqual(
    udp.map(({ hostAddress }) => hostAddress),
    ['127.0.0.1'],
  );
  assert.deepEqual(
    ports.forwards.map(({ address, guestPort, protocol }) => [protocol, address, guestPort]),
    [['udp', '127.0.0.1', 53]],
  );
  assert.deepEqual(
    ports.listeners.map(({ guestPort }) => guestPort),
    [80, 80],
  );
  for (const { hostAddress, hostPort } of web) {
    const client = connect({ host: hostAddress, port: hostPort });
    await once(client, 'connect');
    client.destroy();
  }
  await ports.release();
  assert.equal(ports.listeners.length, 0);
  for (const { hostAddress, hostPort } of web) {
    const [error] = await once(connect({ host: hostAddress, port: hostPort }), 'error');
    assert.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  }
});

test('a taken port of either family is an error that names it', async (t) => {
  ownRuntime(t);
  for (const host of ['127.0.0.1', '::1']) {
    const { port } = await listening(t, host);
    await assert.rejects(
      publishPorts(settings({ '80/tcp': [binding(String(port))] }), 'box'),
      (error) => {
        assert.ok(error instanceof TsvmError && error.code === 'network-unavailable');
        assert.match(error.message, new RegExp(`:${port} failed: port is already allocated$`));
        return true;
      },
    );
  }
});

test('a range gives way to what is taken, and to containers that start at once', async (t) => {
  ownRuntime(t);
  const { port } = await listening(t, '127.0.0.1');
  const range = `${port}-${port + 3}`;
  const chosen: number[] = [];
  const both = await Promise.all(
    ['a', 'b'].map((name) =>
      publishPorts(settings({ '80/tcp': [binding(range, '127.0.0.1')] }), name),
    ),
  );
  for (const ports of both) {
    t.after(() => ports.release());
    chosen.push(ports.published[0]?.hostPort ?? 0);
  }
  assert.ok(!chosen.includes(port));
  assert.equal(new Set(chosen).size, 2, chosen.join(' '));
});

test('-P publishes what is exposed and not published yet, on high ports', async (t) => {
  ownRuntime(t);
  const { port } = await listening(t, '127.0.0.1');
  const free = port === 65_535 ? 40_000 : port + 1;
  const ports = await publishPorts(
    {
      ports: { '80/tcp': [binding(String(free), '127.0.0.1')] },
      exposed: ['80/tcp', '90/tcp'],
      publishAll: true,
    },
    'box',
  );
  t.after(() => ports.release());
  const [first, ...others] = ports.published;
  assert.equal(first?.hostPort, free);
  assert.ok(others.every(({ hostPort, port: own }) => own === '90/tcp' && hostPort >= 32_768));
  assert.equal(others.length, 2);
});

test('an address that the host has not, and sctp, are said', async (t) => {
  ownRuntime(t);
  await assert.rejects(
    publishPorts(settings({ '80/tcp': [binding('8080', '203.0.113.7')] }), 'box'),
    /the host has no address 203\.0\.113\.7/,
  );
  await assert.rejects(
    publishPorts(settings({ '80/sctp': [binding('')] }), 'box'),
    /only tcp and udp/,
  );
});

test('datagrams to ::1 are handed on, and answers go to who asked', async (t) => {
  const echo = createSocket('udp4');
  echo.on('message', (data, { address, port }) => echo.send(`${data}!`, port, address));
  await new Promise<void>((resolve) => echo.bind(0, '127.0.0.1', resolve));
  t.after(() => echo.close());
  const probe = createSocket('udp6');
  await new Promise<void>((resolve) => probe.bind(0, '::1', resolve));
  const { port } = probe.address();
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  const target = { address: '127.0.0.1', port: echo.address().port };
  const relay = new UdpRelay({ address: '::1', port }, target);
  await relay.listen();
  t.after(() => relay.close());
  await Promise.all(
    ['a', 'b', 'c'].map(async (text) => {
      const client = createSocket('udp6');
      client.send(text, port, '::1');
      const [answer] = await once(client, 'message');
      client.close();
      assert.equal(String(answer), `${text}!`);
    }),
  );
});

test('ports are shown as docker shows them', () => {
  const published = [
    { port: '80/tcp', hostAddress: '127.0.0.1', hostPort: 80 },
    { port: '81/tcp', hostAddress: '127.0.0.1', hostPort: 81 },
    { port: '90/tcp', hostAddress: '127.0.0.1', hostPort: 8090 },
    { port: '90/tcp', hostAddress: '::1', hostPort: 8090 },
  ];
  assert.equal(
    portsColumn(['53/udp', '80/tcp', '81/tcp', '100/tcp', '101/tcp'], published),
    '53/udp, 127.0.0.1:80-81->80-81/tcp, 100-101/tcp, 127.0.0.1:8090->90/tcp, [::1]:8090->90/tcp',
  );
  assert.deepEqual(portsMap(['53/udp', '90/tcp'], published.slice(2)), {
    '53/udp': null,
    '90/tcp': [
      { HostIp: '127.0.0.1', HostPort: '8090' },
      { HostIp: '::1', HostPort: '8090' },
    ],
  });
  assert.deepEqual(portLines(published.slice(2)), [
    '90/tcp -> 127.0.0.1:8090',
    '90/tcp -> [::1]:8090',
  ]);
});
