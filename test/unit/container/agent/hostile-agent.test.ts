/** A guest that speaks the agent's protocol as it likes: every way is an error, none a hang. */
import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { once } from 'node:events';
import { type Duplex, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { AgentEvent, GuestProcess } from '../../../../vmm/container/agent/agent.ts';
import { connectAgent } from '../../../../vmm/container/agent/connect-agent.ts';
import { Fields, frameHeader } from '../../../../vmm/container/agent/frame-writer.ts';
import {
  DATA_BYTES_MAX,
  ERROR,
  EVENT,
  EXIT,
  FRAME,
  PATH_STAT,
  PROCESS,
  REPLY_BYTES_MAX,
  STARTED,
  STATS,
} from '../../../../vmm/container/agent/protocol.ts';
import { connectFakeAgent, fakeAgent, hello } from '../../../support/fake-agent.ts';

const LOST = { name: 'AgentError', code: 'agent-lost' };
const SPEC = { args: ['x'], env: [], stdin: true };

/** A started process, with the guest's end of its connection. */
async function startedProcess(t: TestContext): Promise<{ process: GuestProcess; guest: Duplex }> {
  const { fake, agent } = await connectFakeAgent(t);
  const starting = agent.startProcess(SPEC);
  const { value: guest } = await fake.accepted.next();
  guest.resume();
  guest.write(new Fields().number(STARTED.PROCESS, 7).frame(FRAME.REPLY));
  return { process: await starting, guest };
}

function data(type: number, text: string): Buffer {
  return Buffer.concat([frameHeader(type, text.length), Buffer.from(text)]);
}

test('a hello of another version, and what is no hello', async (t) => {
  const answers: [string, Buffer][] = [
    ['version', hello(99)],
    ['reply', new Fields().frame(FRAME.REPLY)],
    ['empty', new Fields().frame(FRAME.HELLO)],
    ['noise', Buffer.alloc(100, 0xff)],
  ];
  for (const [name, bytes] of answers) {
    const fake = await fakeAgent(t);
    const connected = connectAgent(fake.ports);
    const control = await fake.dial();
    control.write(bytes);
    await rejects(connected, LOST, name);
  }
});

test('only the first connection to the host is the agent’s', async (t) => {
  const { fake, agent, control } = await connectFakeAgent(t);
  const second = await fake.dial();
  second.write(hello());
  const closed = new Promise((resolve) => second.on('close', resolve));
  second.resume();
  second.on('end', () => second.end());
  await closed;
  const asked = agent.setClock();
  control.write(new Fields().frame(FRAME.REPLY));
  await asked;
});

test('frames that are too long', async (t) => {
  const { agent, control } = await connectFakeAgent(t);
  const asked = agent.stats();
  control.write(frameHeader(FRAME.REPLY, REPLY_BYTES_MAX + 1));
  await rejects(asked, { ...LOST, message: /a frame of \d+ bytes/ });
  await rejects(agent.stats(), LOST);
  const { process, guest } = await startedProcess(t);
  guest.write(frameHeader(FRAME.STDOUT, DATA_BYTES_MAX + 1));
  await rejects(process.ended, LOST);
});

test('frames of unknown types', async (t) => {
  const { agent, control } = await connectFakeAgent(t);
  const asked = agent.stats();
  control.write(new Fields().frame(99));
  await rejects(asked, { ...LOST, message: /a frame of type 99/ });
  const { process, guest } = await startedProcess(t);
  guest.write(new Fields().frame(FRAME.HELLO));
  await rejects(process.ended, LOST);
});

test('answers to no request', async (t) => {
  const { agent, control } = await connectFakeAgent(t);
  const lost = new Promise<AgentEvent>((resolve) => agent.onEvent(resolve));
  control.write(new Fields().frame(FRAME.REPLY));
  equal((await lost).type, 'lost');
});

test('fields that do not fit, are missing or of the wrong kind', async (t) => {
  const payloads: Buffer[] = [
    Buffer.from([STATS.CPU_US, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([STATS.CPU_US, 1]),
    Buffer.alloc(0),
    new Fields().bytes(STATS.UPTIME_US, Buffer.alloc(3)).encode(),
    new Fields().number(STATS.UPTIME_US, -1).encode(),
  ];
  for (const payload of payloads) {
    const { agent, control } = await connectFakeAgent(t);
    const asked = agent.stats();
    control.write(Buffer.concat([frameHeader(FRAME.REPLY, payload.length), payload]));
    await rejects(asked, LOST);
  }
});

test('errors whose text would control a terminal, or has no end', async (t) => {
  const { agent, control } = await connectFakeAgent(t);
  const asked = agent.setClock();
  const text = '\x1b]0;title\x07\u202eevil\n';
  control.write(
    new Fields()
      .number(ERROR.CODE, 4)
      .number(ERROR.ERRNO, 0)
      .text(ERROR.TEXT, text)
      .frame(FRAME.ERROR),
  );
  await rejects(asked, { code: 'no-such-user', message: '\ufffd]0;title\ufffd\ufffdevil\ufffd' });
  const long = agent.setClock();
  control.write(
    new Fields().number(ERROR.CODE, 77).text(ERROR.TEXT, 'x'.repeat(100_000)).frame(FRAME.ERROR),
  );
  const error = await long.then(
    () => undefined,
    (reason) => reason,
  );
  equal(error.code, 'guest-failed');
  ok(error.message.length < 2000);
});

test('streams that are not open: output before the start, behind an end, on a terminal’s stderr', async (t) => {
  const { fake, agent } = await connectFakeAgent(t);
  const starting = agent.startProcess(SPEC);
  const { value: early } = await fake.accepted.next();
  early.resume();
  early.write(data(FRAME.STDOUT, 'too early'));
  await rejects(starting, LOST);

  const { process, guest } = await startedProcess(t);
  process.stdout.resume();
  guest.write(frameHeader(FRAME.STDOUT, 0));
  await once(process.stdout, 'end');
  guest.write(data(FRAME.STDOUT, 'too late'));
  await rejects(process.ended, LOST);

  const terminal = agent.startProcess({ ...SPEC, terminal: { columns: 1, rows: 1 } });
  const { value: other } = await fake.accepted.next();
  other.resume();
  other.write(new Fields().number(STARTED.PROCESS, 7).frame(FRAME.REPLY));
  const started = await terminal;
  other.write(data(FRAME.STDERR, 'no such stream'));
  await rejects(started.ended, LOST);
});

test('floods of exits, and ends that are none', async (t) => {
  const { process, guest } = await startedProcess(t);
  const exit = new Fields().number(EXIT.CODE, 3).frame(FRAME.EXIT);
  for (let i = 0; i < 1000; i++) guest.write(exit);
  deepEqual(await process.ended, { exitCode: 3 });
  for (const [tag, value] of [
    [EXIT.CODE, 256],
    [EXIT.SIGNAL, 0],
    [EXIT.SIGNAL, 65],
    [99, 1],
  ] as const) {
    const { process: other, guest: liar } = await startedProcess(t);
    liar.write(new Fields().number(tag, value).frame(FRAME.EXIT));
    await rejects(other.ended, LOST);
  }
});

test('floods of events reach the listener, and cost no memory', async (t) => {
  const { agent, control } = await connectFakeAgent(t);
  let events = 0;
  agent.onEvent(() => events++);
  const event = new Fields().number(EVENT.KIND, 1).number(EVENT.COUNT, 1).frame(FRAME.EVENT);
  for (let i = 0; i < 10_000; i++) control.write(event);
  const asked = agent.setClock();
  control.write(new Fields().frame(FRAME.REPLY));
  await asked;
  equal(events, 10_000);
});

test('output that nobody reads is bounded', async (t) => {
  const { process, guest } = await startedProcess(t);
  const chunk = data(FRAME.STDOUT, 'x'.repeat(65_536));
  let written = 0;
  while (guest.write(chunk) && written < 2 ** 28) written += chunk.length;
  // The guest's socket is full: nobody takes its data.
  await new Promise((resolve) => setTimeout(resolve, 200));
  ok(guest.writableNeedDrain);
  ok(process.stdout.readableLength < 2 ** 20);
  guest.destroy();
});

test('a guest that never answers', async (t) => {
  const { fake, agent } = await connectFakeAgent(t, 50);
  await rejects(agent.startProcess(SPEC), { ...LOST, message: 'the guest agent does not answer' });
  await rejects(agent.readArchive('/x'), { ...LOST, message: 'the guest agent does not answer' });
  await rejects(agent.stats(), { ...LOST, message: 'the guest agent does not answer' });
  ok(fake !== undefined);
});

test('a guest that goes away', async (t) => {
  const { process, guest } = await startedProcess(t);
  const output = buffer(process.stdout);
  guest.write(data(FRAME.STDOUT, 'the last words'));
  guest.end();
  await rejects(process.ended, LOST);
  equal((await output).toString(), 'the last words');
  process.stdin?.write('nobody');
  await new Promise((resolve) => process.stdin?.end(resolve));

  const { agent, control } = await connectFakeAgent(t);
  const asked = agent.stats();
  control.destroy();
  await rejects(asked, LOST);
});

test('lists without end, and rows that are none', async (t) => {
  const { fake, agent } = await connectFakeAgent(t);
  const asked = agent.processes();
  const { value: guest } = await fake.accepted.next();
  guest.resume();
  const row = new Fields().number(PROCESS.PID, 1).frame(FRAME.DATA);
  for (let i = 0; i < 70_000; i++) guest.write(row);
  await rejects(asked, { ...LOST, message: /more than \d+ rows/ });
  const again = agent.processes();
  const { value: other } = await fake.accepted.next();
  other.resume();
  other.write(Buffer.concat([row, new Fields().frame(FRAME.REPLY)]));
  await rejects(again, LOST);
});

test('changes with paths that have .. or are cut off', async (t) => {
  for (const text of ['A/../x\0', 'Ax\0', 'Z/x\0', 'A/x']) {
    const { fake, agent } = await connectFakeAgent(t);
    const asked = agent.changes();
    const { value: guest } = await fake.accepted.next();
    guest.resume();
    guest.write(data(FRAME.DATA, text));
    guest.write(Buffer.concat([frameHeader(FRAME.DATA, 0), new Fields().frame(FRAME.REPLY)]));
    await rejects(asked, LOST, text);
  }
});

test('archives that end without their end, or go on behind it', async (t) => {
  for (const [name, frames] of [
    ['no end', [data(FRAME.DATA, 'x'), new Fields().frame(FRAME.REPLY)]],
    ['closed', [data(FRAME.DATA, 'x')]],
    ['two ends', [data(FRAME.DATA, 'x'), frameHeader(FRAME.DATA, 0), data(FRAME.DATA, 'y')]],
  ] as const) {
    const { fake, agent } = await connectFakeAgent(t);
    const asked = agent.rootArchive();
    const { value: guest } = await fake.accepted.next();
    guest.resume();
    guest.end(Buffer.concat(frames));
    await rejects(
      asked.then((stream) => buffer(stream)),
      LOST,
      name,
    );
  }
  const { fake, agent } = await connectFakeAgent(t);
  const writing = agent.writeArchive('/', Readable.from([Buffer.from('x')]));
  const { value: guest } = await fake.accepted.next();
  guest.resume();
  guest.write(data(FRAME.DATA, 'unasked'));
  await rejects(writing, LOST);
});

test('a path’s description without its fields', async (t) => {
  const { fake, agent } = await connectFakeAgent(t);
  const asked = agent.pathStat('/x');
  const { value: guest } = await fake.accepted.next();
  guest.resume();
  guest.write(new Fields().text(PATH_STAT.NAME, 'x').frame(FRAME.REPLY));
  await rejects(asked, LOST);
});
