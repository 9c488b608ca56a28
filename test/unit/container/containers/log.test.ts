import assert from 'node:assert/strict';
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { decodeLine } from '../../../../vmm/container/containers/log-format.ts';
import { type ReadLogOptions, readLog } from '../../../../vmm/container/containers/log-reader.ts';
import { LogWriter } from '../../../../vmm/container/containers/log-writer.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

const NEVER = () => false;

function log(t: TestContext, maxBytes?: number, maxFiles = 1) {
  const path = join(temporaryFolder(t), 'container.log');
  const writer = new LogWriter(path, { driver: 'json-file', maxBytes, maxFiles }, (error) =>
    assert.fail(String(error)),
  );
  t.after(() => writer.close());
  return { path, writer };
}

async function read(path: string, options: Partial<ReadLogOptions> = {}): Promise<string> {
  let text = '';
  for await (const { bytes, stream } of readLog(path, {
    follow: false,
    isRunning: NEVER,
    ...options,
  })) {
    text += stream === 'stderr' ? `!${Buffer.from(bytes)}` : Buffer.from(bytes);
  }
  return text;
}

test('every byte comes back, whatever it is, in pieces of any size', async (t) => {
  const { path, writer } = log(t);
  const all = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 7) % 256));
  for (let at = 0; at < all.length; at += 13) writer.write('stdout', all.subarray(at, at + 13));
  writer.end();
  const pieces: Uint8Array[] = [];
  for await (const { bytes } of readLog(path, { follow: false, isRunning: NEVER })) {
    pieces.push(bytes);
  }
  assert.deepEqual(Buffer.concat(pieces), all);
});

test('a line is one entry, however it arrived; streams do not mix', async (t) => {
  const { path, writer } = log(t);
  writer.write('stdout', Buffer.from('one '));
  writer.write('stderr', Buffer.from('bad\n'));
  writer.write('stdout', Buffer.from('line\nnext'));
  writer.end();
  assert.equal(await read(path), '!bad\none line\nnext');
});

test('the last lines', async (t) => {
  const { path, writer } = log(t);
  for (let number = 1; number <= 20_000; number++) {
    writer.write('stdout', Buffer.from(`${number}\n`));
  }
  writer.write('stdout', Buffer.from('end'));
  writer.end();
  assert.equal(await read(path, { tail: 0 }), '');
  assert.equal(await read(path, { tail: 1 }), 'end');
  assert.equal(await read(path, { tail: 3 }), '19999\n20000\nend');
  assert.equal((await read(path, { tail: 15_000 })).split('\n').length, 15_000);
  assert.equal((await read(path, { tail: 90_000 })).split('\n').length, 20_001);
});

test('rotated files are read in order, and no more of them are kept', async (t) => {
  const { path, writer } = log(t, 2000, 3);
  for (let number = 1; number <= 100; number++) {
    writer.write('stdout', Buffer.from(`${number}\n`));
  }
  writer.end();
  const lines = (await read(path)).trim().split('\n').map(Number);
  assert.equal(lines.at(-1), 100);
  assert.ok(lines.length >= 50, `${lines.length} lines`);
  assert.deepEqual(
    lines,
    lines.map((_, index) => 101 - lines.length + index),
  );
  assert.deepEqual(readdirSync(join(path, '..')).sort(), [
    'container.log',
    'container.log.1',
    'container.log.2',
  ]);
  assert.equal(await read(path, { tail: 40 }).then((text) => text.trim().split('\n').length), 40);
});

test('a follower reads what comes, over rotations, up to the end', async (t) => {
  const { path, writer } = log(t, 5000, 100);
  let running = true;
  writer.write('stdout', Buffer.from('0\n'));
  const following = read(path, { follow: true, isRunning: () => running });
  for (let number = 1; number <= 1000; number++) {
    writer.write('stdout', Buffer.from(`${number}\n`));
    if (number % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  writer.end();
  running = false;
  const expected = Array.from({ length: 1001 }, (_, index) => `${index}\n`).join('');
  assert.equal(await following, expected);
});

test('a damaged line, as after a power cut, is left out', async (t) => {
  const { path, writer } = log(t);
  writer.write('stdout', Buffer.from('one\n'));
  appendFileSync(path, '{"log":"half\n');
  writer.write('stdout', Buffer.from('two\n'));
  assert.equal(await read(path), 'one\ntwo\n');
  assert.equal(decodeLine('{'), undefined);
});

test('a log that cannot be written is told once, and the container goes on', (t) => {
  let failures = 0;
  const folder = temporaryFolder(t);
  const writer = new LogWriter(
    join(folder, 'missing/container.log'),
    { driver: 'json-file', maxFiles: 1 },
    () => failures++,
  );
  for (let count = 0; count < 5; count++) writer.write('stdout', Buffer.from('x\n'));
  assert.equal(failures, 1);
});
