/** The control API over a real socket, with a machine whose vCPUs the test plays. Ajv is the oracle of its description. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { ControlClient } from '../../../vmm/api/control/client.ts';
import {
  type ControlledMachine,
  controlSurface,
} from '../../../vmm/api/control/control-surface.ts';
import { CONTROL_API, CONTROL_OPERATIONS } from '../../../vmm/api/control/operations.ts';
import { ApiServer } from '../../../vmm/api/http/api-server.ts';
import { ERROR_SCHEMA } from '../../../vmm/api/http/operation.ts';
import { MachineFolder } from '../../../vmm/api/machines/machine-folder.ts';
import { findMachine } from '../../../vmm/api/machines/running-machines.ts';
import { TsvmError } from '../../../vmm/errors.ts';
import {
  checkMemoryTarget,
  type ImageDiskConfig,
  resolveConfig,
} from '../../../vmm/machine/config.ts';
import { ConsoleHub } from '../../../vmm/machine/console-hub.ts';
import { Machine } from '../../../vmm/machine/machine.ts';
import { resolveNet } from '../../../vmm/machine/net-config.ts';
import { checkRateLimits, type RateLimits } from '../../../vmm/machine/rate-limits.ts';
import { createLogger } from '../../../vmm/observability/logger.ts';
import { FakeVm } from '../../support/fake-vm.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

const NO_CONSOLE = {
  write: () => true,
  onceDrained: () => Promise.resolve(),
  startInput: () => {},
  resumeInput: () => {},
};

/** A machine under control, and a client of it. */
async function serve(
  context: TestContext,
  options: { readonly folder?: string; readonly requestMs?: number } = {},
) {
  const root = join(temporaryFolder(context), options.folder ?? 'machines');
  const folder = await MachineFolder.claim('web', root);
  context.after(() => folder[Symbol.dispose]());
  folder.writeRecord({ pid: process.pid, startedMs: Date.now() });
  const vm = new FakeVm();
  const machine = new Machine({
    logger: createLogger('error', () => {}),
    vm,
    memory: { close() {} },
  });
  vm.wake = () => machine.wake();
  const pressed = { count: 0 };
  machine.controls.pressPowerButton = () => {
    pressed.count++;
  };
  const hub = new ConsoleHub(NO_CONSOLE, 'none');
  const input: { text: string } = { text: '' };
  hub.startInput((bytes) => {
    input.text += Buffer.from(bytes).toString();
    return true;
  });
  const target = {
    name: 'web',
    version: '0.0.0',
    startedMs: Date.now(),
    config: resolveConfig({ kernelPath: '/k', disks: [{ path: '/d', readOnly: true }] }),
    console: hub,
    sandbox: { reach: 'threads', reason: 'a test' } as const,
    machine: machine as Machine | undefined,
    killed: false,
    current(): Machine | undefined {
      return target.machine;
    },
    kill() {
      target.killed = true;
    },
  };
  const server = new ApiServer(
    async () => [controlSurface(target satisfies ControlledMachine)],
    options.requestMs,
  );
  context.after(() => server.close());
  await server.listen(folder.socketPath);
  const client = new ControlClient(findMachine('web', root));
  return {
    root,
    socketPath: folder.socketPath,
    client,
    vm,
    machine,
    target,
    hub,
    input,
    pressed,
    server,
  };
}

interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

/** Sends a request without the client of the CLI. */
async function send(
  socketPath: string,
  method: string,
  path: string,
  { body, headers = {} }: { body?: string; headers?: Record<string, string> } = {},
): Promise<RawAnswer> {
  const sent = request({ socketPath, method, path, headers, agent: false });
  sent.on('error', () => {});
  sent.end(body);
  const [response] = await once(sent, 'response');
  const text = (await response.setEncoding('utf8').toArray()).join('');
  const isJson = response.headers['content-type'] === 'application/json';
  const ajv = new Ajv2020();
  const parsed: unknown = isJson ? JSON.parse(text) : text;
  if (response.statusCode >= 400) assert.ok(ajv.validate(ERROR_SCHEMA, parsed), text);
  return { status: response.statusCode, headers: response.headers, body: parsed };
}

/** Sends bytes and returns all that comes until the server closes. */
async function sendBytes(socketPath: string, bytes: string, timeoutMs = 120_000): Promise<string> {
  const socket = connect(socketPath).setEncoding('latin1').setTimeout(timeoutMs);
  socket.on('timeout', () => socket.destroy(new Error(`open after ${timeoutMs} ms`)));
  socket.write(bytes);
  return (await socket.toArray()).join('');
}

test('the description is valid OpenAPI 3.1, and describes every operation', async (context) => {
  const { socketPath } = await serve(context);
  const { status, body } = await send(socketPath, 'GET', '/v1/openapi.json');
  assert.equal(status, 200);
  const result = await new Validator().validate(body as Record<string, unknown>);
  assert.deepEqual(result, { valid: true });
  const { paths, info } = body as {
    paths: Record<string, Record<string, { operationId: string }>>;
    info: { version: string };
  };
  assert.equal(info.version, CONTROL_API.version);
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId }]) => [operationId, method, path]),
  );
  const operations = Object.entries(CONTROL_OPERATIONS).map(([name, { method, path }]) => [
    name,
    method.toLowerCase(),
    path,
  ]);
  assert.deepEqual(described.sort(), operations.sort());
});

test('requests to the machine match the schema', async (context) => {
  const { client, socketPath } = await serve(context);
  const { body } = await send(socketPath, 'GET', '/v1/machine');
  const ajv = new Ajv2020({ formats: { 'date-time': true } });
  assert.ok(ajv.validate(CONTROL_OPERATIONS.getMachine.answer.schema, body), ajv.errorsText());
  assert.deepEqual(await client.call('getMachine'), body);
});

test('pause and resume follow the machine, and wrong states are conflicts', async (context) => {
  const { client, machine, vm, socketPath } = await serve(context);
  assert.equal((await client.call('getMachine')).state, 'booting');
  assert.equal((await send(socketPath, 'POST', '/v1/machine/pause')).status, 409);
  machine.start();
  const paused = client.call('pauseMachine');
  while (machine.state !== 'pausing') await new Promise(setImmediate);
  vm.park(0);
  assert.equal((await paused).state, 'paused');
  await assert.rejects(client.call('pauseMachine'), { code: 'wrong-state' });
  await assert.rejects(client.call('pressPowerButton'), { code: 'wrong-state' });
  assert.equal((await client.call('resumeMachine')).state, 'running');
  assert.equal((await send(socketPath, 'POST', '/v1/machine/resume')).status, 409);
});

test('the power button is pressed where there is one', async (context) => {
  const { client, machine, pressed } = await serve(context);
  machine.start();
  await client.call('pressPowerButton');
  assert.equal(pressed.count, 1);
  delete machine.controls.pressPowerButton;
  await assert.rejects(client.call('pressPowerButton'), /no power button/);
});

test('the balloon is set within the memory of a running machine that has one', async (context) => {
  const { client, machine, socketPath } = await serve(context);
  await assert.rejects(client.call('getBalloon'), /boot it with --balloon/);
  const balloon = {
    targetBytes: 0,
    actualBytes: 4096,
    statistics: { freeBytes: 7 },
    setTarget: (bytes: number) => {
      balloon.targetBytes = bytes;
    },
    refreshStatistics: () => Promise.resolve(),
  };
  machine.controls.balloon = balloon;
  const put = (body: string) => send(socketPath, 'PUT', '/v1/balloon', { body });
  assert.equal((await put('{"targetBytes":0}')).status, 409);
  machine.start();
  const { status, body } = await put('{"targetBytes":8192}');
  assert.equal(status, 200);
  const ajv = new Ajv2020();
  assert.ok(ajv.validate(CONTROL_OPERATIONS.setBalloon.answer.schema, body), ajv.errorsText());
  assert.equal(balloon.targetBytes, 8192);
  assert.deepEqual((await client.call('getBalloon')).statistics, { freeBytes: 7 });
  for (const bad of [
    '{"targetBytes":-1}',
    '{"targetBytes":1.5}',
    '{"targetBytes":1e15}',
    '{"targetBytes":"1"}',
    '{"targetBytes":1,"x":1}',
    '{}',
    '[]',
    'null',
    '{',
    '',
  ]) {
    assert.equal((await put(bad)).status, 400, bad);
  }
  assert.equal(balloon.targetBytes, 8192);
});

test('memory is set within its limits, of a running machine that has a maximum', async (context) => {
  const { client, machine, socketPath, target } = await serve(context);
  await assert.rejects(client.call('getMemory'), /--memory SIZE,max=SIZE/);
  const { memoryBytes } = target.config;
  const limits = { memoryBytes, memoryMaxBytes: memoryBytes + 2 ** 30 };
  const memory = {
    maxBytes: limits.memoryMaxBytes,
    targetBytes: memoryBytes,
    actualBytes: memoryBytes + 2 ** 21,
    setTarget: (bytes: number) => {
      checkMemoryTarget(limits, bytes);
      memory.targetBytes = bytes;
    },
  };
  machine.controls.memory = memory;
  const put = (targetBytes: number) =>
    send(socketPath, 'PUT', '/v1/memory', { body: JSON.stringify({ targetBytes }) });
  assert.equal((await put(memoryBytes)).status, 409);
  machine.start();
  const { status, body } = await put(memoryBytes + 2 ** 22);
  assert.equal(status, 200);
  const ajv = new Ajv2020();
  assert.ok(ajv.validate(CONTROL_OPERATIONS.setMemory.answer.schema, body), ajv.errorsText());
  assert.deepEqual(await client.call('getMemory'), {
    minBytes: memoryBytes,
    maxBytes: memory.maxBytes,
    targetBytes: memoryBytes + 2 ** 22,
    actualBytes: memory.actualBytes,
  });
  for (const bad of [0, -1, memoryBytes - 2 ** 21, memory.maxBytes + 2 ** 21, memoryBytes + 4096]) {
    assert.equal((await put(bad)).status, 400, String(bad));
  }
  assert.equal(memory.targetBytes, memoryBytes + 2 ** 22);
  assert.equal((await client.call('getMachine')).memoryBytes, memory.actualBytes);
});

test('link and rate limits of a network, rate limits and image of a disk', async (context) => {
  const { client, machine, socketPath, target } = await serve(context);
  const calls: unknown[] = [];
  const setRateLimits = (limits: RateLimits) => {
    checkRateLimits(limits);
    calls.push(limits);
  };
  const [disk] = target.config.disks;
  assert.ok(disk);
  const replaceImage = async (image: ImageDiskConfig) => {
    calls.push(image);
    if (image.path === '/locked') throw new TsvmError('disk-locked', '/locked is in use');
    if (image.path === '/busy') throw new TsvmError('wrong-state', 'wait');
  };
  machine.controls.disks.set('disk0', { config: disk, setRateLimits, replaceImage });
  const config = resolveNet({ kind: 'user' });
  const setLink = (up: boolean) => calls.push(up);
  machine.controls.nets.set('net0', { config, setRateLimits, setLink });
  await client.call('setNetwork', { body: { id: 'net0', linkUp: false } });
  await client.call('setNetwork', { body: { id: 'net0', limits: { bytesPerSecond: 5 } } });
  await client.call('setDisk', { body: { id: 'disk0', limits: {} } });
  assert.deepEqual(calls, [false, { bytesPerSecond: 5 }, {}]);
  const put = (path: string, body: object) =>
    send(socketPath, 'PUT', `/v1/${path}`, { body: JSON.stringify(body) });
  for (const [path, body, status] of [
    ['network', { id: 'net1', linkUp: true }, 409],
    ['disk', { id: 'net0', limits: {} }, 409],
    ['disk', { id: 'constructor', limits: {} }, 409],
    ['disk', { id: 'disk0', image: { path: 'relative' } }, 400],
    ['disk', { id: 'disk0', image: { path: '/f', readOnly: true } }, 400],
    ['disk', { id: 'disk0', image: {} }, 400],
    ['disk', { id: 'disk0', limits: { burstBytes: 1 } }, 400],
    ['disk', { id: 'disk0', limits: { bytesPerSecond: 0 } }, 400],
    ['network', { id: 'net0', linkUp: 'yes' }, 400],
    ['network', { linkUp: true }, 400],
  ] as const) {
    assert.equal((await put(path, body)).status, status, JSON.stringify(body));
  }
  assert.equal(calls.length, 3, 'what is refused changes nothing');

  const image = { path: '/new', overlay: true };
  await client.call('setDisk', { body: { id: 'disk0', image, limits: { bytesPerSecond: 6 } } });
  assert.deepEqual(calls.slice(3), [{ ...image, limits: { bytesPerSecond: 6 } }]);
  const answer = await put('disk', { id: 'disk0', image: { path: '/locked' } });
  assert.deepEqual(
    [answer.status, answer.body],
    [400, { code: 'invalid-request', message: '/locked is in use' }],
  );
  assert.equal((await put('disk', { id: 'disk0', image: { path: '/busy' } })).status, 409);
  const added = await put('disk', { id: 'disk1', image: { path: '/new' } });
  assert.match(JSON.stringify(added.body), /no disk disk1 .it has: disk0/);
});

test('the status tells of disks, networks and other devices as they are now', async (context) => {
  const { client, machine, target } = await serve(context);
  target.config = resolveConfig({
    kernelPath: '/k',
    disks: [{ path: '/d', limits: { bytesPerSecond: 5 } }, { files: ['/a', '/b'] }],
    nets: [
      {
        kind: 'user',
        mac: '52:54:00:00:00:01',
        forwards: [{ protocol: 'tcp', address: '::1', hostPort: 8080, guestPort: 80 }],
      },
      { kind: 'tap', name: 'tap7', mac: '52:54:00:00:00:02', linkUp: false },
    ],
    shares: [{ path: '/src', tag: 'src', readOnly: true }],
    console: 'virtio',
    ports: [{ name: 'agent', socketPath: '/run/agent' }],
    vsock: { socketPath: '/run/vsock' },
    balloon: true,
  });
  const [first, second] = target.config.disks;
  assert.ok(first && second);
  const control = { setRateLimits: () => {}, replaceImage: async () => {} };
  const changed = { ...first, path: '/new', limits: { operationsPerSecond: 7 } };
  machine.controls.disks.set('disk0', { ...control, config: changed });
  machine.controls.disks.set('disk1', { ...control, config: second });
  for (const [index, config] of target.config.nets.entries()) {
    machine.controls.nets.set(`net${index}`, { ...control, setLink: () => {}, config });
  }
  const { disks, nets, shares, ports, vsock, hasBalloon } = await client.call('getMachine');
  assert.deepEqual(disks, [
    { id: 'disk0', path: '/new', readOnly: false, limits: { operationsPerSecond: 7 } },
    { id: 'disk1', path: '/a', readOnly: true },
  ]);
  assert.deepEqual(nets, [
    {
      id: 'net0',
      kind: 'user',
      mac: '52:54:00:00:00:01',
      linkUp: true,
      forwards: [{ protocol: 'tcp', address: '::1', hostPort: 8080, guestPort: 80 }],
    },
    {
      ...{ id: 'net1', kind: 'tap', tapName: 'tap7', mac: '52:54:00:00:00:02' },
      ...{ linkUp: false, forwards: [] },
    },
  ]);
  assert.deepEqual(shares, [{ tag: 'src', path: '/src', readOnly: true }]);
  assert.deepEqual(ports, [{ name: 'agent', socketPath: '/run/agent' }]);
  assert.deepEqual(vsock, { guestCid: 3, socketPath: '/run/vsock' });
  assert.equal(hasBalloon, true);
});

test('the window size goes to a console that has one', async (context) => {
  const { client, machine } = await serve(context);
  const size = { body: { columns: 80, rows: 24 } };
  await assert.rejects(client.call('setConsoleSize', size), /a serial console has no size/);
  const sizes: number[][] = [];
  machine.controls.resizeConsole = (columns, rows) => sizes.push([columns, rows]);
  await client.call('setConsoleSize', size);
  const zero = { body: { columns: 0, rows: 24 } };
  await assert.rejects(client.call('setConsoleSize', zero), /columns must be at least 1/);
  assert.deepEqual(sizes, [[80, 24]]);
});

test('kill answers before the machine ends', async (context) => {
  const { client, target } = await serve(context);
  await client.call('killMachine');
  while (!target.killed) await new Promise((resolve) => setTimeout(resolve, 1));
});

test('a booting machine is reported but not controlled', async (context) => {
  const { client, target } = await serve(context);
  target.machine = undefined;
  assert.equal((await client.call('getMachine')).state, 'booting');
  for (const name of ['pauseMachine', 'resumeMachine', 'pressPowerButton'] as const) {
    await assert.rejects(client.call(name), { code: 'wrong-state' });
  }
});

test('requests without an operation are refused, each with its status', async (context) => {
  const { socketPath } = await serve(context);
  const status = async (...request: [string, string, object?]) =>
    (await send(socketPath, ...request)).status;
  assert.equal(await status('GET', '/'), 404);
  assert.equal(await status('GET', '/v1'), 404);
  assert.equal(await status('GET', '/v2/machine'), 404);
  assert.equal(await status('GET', '/v1/machine/'), 404);
  assert.equal(await status('GET', '/v1/../v1/machine'), 404);
  assert.equal(await status('GET', '/v1/%6dachine'), 404);
  assert.equal(await status('GET', '/v1/machine?x=1'), 400);
  assert.equal(await status('POST', '/v1/machine/kill', { body: '{}' }), 400);
  assert.equal(await status('GET', '/v1/console'), 405);
  assert.equal(await status('POST', '/v1/console'), 426);
  const upgrade = { headers: { Connection: 'Upgrade', Upgrade: 'tsvm-console' } };
  assert.equal(
    await status('POST', '/v1/console', { headers: { Connection: 'Upgrade', Upgrade: 'x' } }),
    426,
  );
  for (const query of [
    'input=x',
    'replay=-1',
    'replay=1e3',
    'replay=1&replay=2',
    'x=1',
    '__proto__=1',
  ]) {
    assert.equal(await status('POST', `/v1/console?${query}`, upgrade), 400, query);
  }
  assert.equal(await status('POST', '/v1/nothing', upgrade), 404);
  const { headers } = await send(socketPath, 'DELETE', '/v1/machine');
  assert.equal(headers['allow'], 'GET');
});

test('a body over the limit is refused, announced or not', async (context) => {
  const { socketPath } = await serve(context);
  const body = 'x'.repeat(70_000);
  assert.equal((await send(socketPath, 'POST', '/v1/machine/kill', { body })).status, 413);
  const chunked = { body, headers: { 'Transfer-Encoding': 'chunked' } };
  assert.equal((await send(socketPath, 'POST', '/v1/machine/kill', chunked)).status, 413);
});

test('requests that are slow, or never end, are cut off and disturb no other', async (context) => {
  const { socketPath, client } = await serve(context, { requestMs: 3_000 });
  const startMs = performance.now();
  const slow = [
    sendBytes(socketPath, ''),
    sendBytes(socketPath, 'GET /v1/mach'),
    sendBytes(
      socketPath,
      'POST /v1/machine/kill HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow',
    ),
  ];
  assert.equal((await client.call('getMachine')).name, 'web');
  await Promise.all(slow);
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 2_900 && tookMs < 60_000, `${tookMs} ms`);
});

test('nonsense, pipelined requests and too many headers end with the connection', async (context) => {
  const { socketPath, client } = await serve(context);
  assert.match(await sendBytes(socketPath, 'nonsense\r\n\r\n'), /^HTTP\/1\.1 400 /);
  assert.match(
    await sendBytes(socketPath, `GET /v1/machine HTTP/1.1\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`),
    /^HTTP\/1\.1 (400|431) /,
  );
  const one = 'GET /v1/machine HTTP/1.1\r\nHost: x\r\n\r\n';
  const answers = await sendBytes(socketPath, one + one + one);
  assert.equal(answers.match(/HTTP\/1\.1 200/g)?.length, 1);
  assert.equal((await client.call('getMachine')).name, 'web');
});

test('a flood of connections costs at most 64 at a time, and ends when they do', async (context) => {
  const { socketPath, client } = await serve(context);
  const sockets = Array.from({ length: 200 }, () => connect(socketPath).on('error', () => {}));
  await new Promise((resolve) => setTimeout(resolve, 200));
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal((await client.call('getMachine')).name, 'web');
});

test('a console stream carries output, input and data sent with the request', async (context) => {
  const { client, hub, input, socketPath } = await serve(context);
  hub.write(Buffer.from('before '));
  const { socket, hasInput } = await client.attachConsole();
  assert.ok(hasInput);
  socket.setEncoding('utf8');
  let output = '';
  socket.on('data', (text: string) => {
    output += text;
  });
  hub.write(Buffer.from('after'));
  socket.write('typed ');
  while (output !== 'before after' || input.text !== 'typed ') await new Promise(setImmediate);
  assert.equal((await client.call('getMachine')).console.viewers, 1);

  const viewer = await client.attachConsole({ input: 'if-free', replay: 5 });
  assert.equal(viewer.hasInput, false);
  viewer.socket.resume().write('ignored');
  const taker = connect(socketPath);
  taker.write(
    'POST /v1/console?input=take&replay=0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n' +
      'Upgrade: tsvm-console\r\n\r\ntaken',
  );
  while (!input.text.endsWith('taken')) await new Promise(setImmediate);
  taker.destroy();
  while ((await client.call('getMachine')).console.viewers !== 2) await new Promise(setImmediate);
  assert.equal((await client.call('getMachine')).console.input, 'nobody');

  hub.end();
  await once(socket, 'close');
  assert.match(output, /^before after\r\n\[tsvm: another console has taken the input\]\r\n$/);
  assert.equal(input.text, 'typed taken');
});

test('a console that never reads costs the guest nothing', async (context) => {
  const { client, hub } = await serve(context);
  const { socket } = await client.attachConsole({ input: 'none' });
  socket.pause();
  const before = process.memoryUsage().arrayBuffers;
  const chunk = new Uint8Array(64 * 1024).fill(0x61);
  for (let i = 0; i < 1000; i++) assert.equal(hub.write(chunk), true);
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 * 2 ** 20);
  socket.destroy();
});

test('only its user can connect to the socket, its path may be long, and it is removed with the server', async (context) => {
  const { socketPath, client, server } = await serve(context, { folder: 'x'.repeat(150) });
  assert.ok(socketPath.length > 150);
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  assert.equal((await client.call('getMachine')).name, 'web');
  server.close();
  assert.equal(statSync(socketPath, { throwIfNoEntry: false }), undefined);
});

const CONNECT = `
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
    print("connected")
except OSError as error:
    print(error.errno)
`;
const NOBODY = 65_534;

test('other users cannot connect: neither into the folder, nor to the socket in it', {
  skip: process.geteuid?.() !== 0 && 'only root can act as another user',
}, async (context) => {
  const { root, socketPath } = await serve(context);
  const connectAs = (uid: number) =>
    spawnSync('/usr/bin/python3', ['-c', CONNECT, socketPath], { uid, encoding: 'utf8' }).stdout;
  chmodSync(dirname(root), 0o755);
  assert.equal(connectAs(0), 'connected\n');
  assert.equal(connectAs(NOBODY), `${constants.errno.EACCES}\n`);
  for (const folder of [root, dirname(socketPath)]) chmodSync(folder, 0o755);
  assert.equal(connectAs(NOBODY), `${constants.errno.EACCES}\n`);
});

test('a socket that is a link, or no socket, is not used', async (context) => {
  const first = await serve(context);
  for (const make of [
    (path: string) => symlinkSync(first.socketPath, path),
    (path: string) => writeFileSync(path, ''),
  ]) {
    const root = join(temporaryFolder(context), 'machines');
    using folder = await MachineFolder.claim('web', root);
    make(folder.socketPath);
    const client = new ControlClient(findMachine('web', root));
    await assert.rejects(client.call('getMachine'), { code: 'machine-unreachable' });
  }
});

test('a machine that has gone, and one that does not answer, are errors soon', async (context) => {
  const { client, server, root } = await serve(context);
  const machine = findMachine('web', root);
  server.close();
  using _other = await MachineFolder.claim('other', root);
  const gone = new ControlClient({ ...machine, folder: join(root, 'nobody') });
  await assert.rejects(gone.call('getMachine'), { code: 'machine-unreachable' });
  await assert.rejects(client.call('getMachine'), /does not listen/);

  const mute = new ApiServer(async () => [
    {
      handles: () => true,
      serve: async () => {},
      upgrade: async (_request, socket) => {
        socket.resume();
      },
    },
  ]);
  context.after(() => mute.close());
  await mute.listen(_other.socketPath);
  const waiting = new ControlClient(findMachine('other', root), 200);
  await assert.rejects(waiting.call('getMachine'), /does not answer.*tsvm kill other/);
  await assert.rejects(waiting.attachConsole(), /does not answer/);
});
