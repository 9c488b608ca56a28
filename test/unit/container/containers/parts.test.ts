/** Small rules of containers: names, signals, restarts, frames. */
import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import {
  checkContainerName,
  newContainerId,
  randomName,
} from '../../../../vmm/container/containers/container-name.ts';
import { mergeEnv } from '../../../../vmm/container/containers/process-specs.ts';
import { restartDelayMs, restarts } from '../../../../vmm/container/containers/restart-policy.ts';
import { parseSignal } from '../../../../vmm/container/containers/signals.ts';
import { FrameReader, FrameWriter } from '../../../../vmm/container/containers/stream-frames.ts';

test('names', () => {
  assert.equal(checkContainerName('/web-1.a_b'), 'web-1.a_b');
  for (const name of ['', 'a', '-a', 'a b', 'a/b', '..', 'ä1', 'x'.repeat(129)]) {
    assert.throws(() => checkContainerName(name), /Invalid container name/, name);
  }
  assert.match(newContainerId(), /^[0-9a-f]{64}$/);
  assert.notEqual(newContainerId(), newContainerId());
  assert.equal(checkContainerName(randomName(0)).includes('_'), true);
  assert.match(randomName(3), /\d$/);
});

test('signals by name and number', () => {
  for (const text of ['TERM', 'SIGTERM', 'term', '15']) assert.equal(parseSignal(text), 15, text);
  assert.equal(parseSignal('RTMIN+3'), 37);
  assert.equal(parseSignal('SIGRTMAX-1'), 63);
  for (const text of ['', '0', '65', 'NOPE', 'RTMIN-1', 'RTMAX+1', '-9']) {
    assert.throws(() => parseSignal(text), /Invalid signal/, text);
  }
});

test('restart policies', () => {
  const run = { exitCode: 1, restartCount: 2, stoppedByUser: false };
  const policy = (name: 'no' | 'always' | 'unless-stopped' | 'on-failure', max = 0) => ({
    name,
    maximumRetryCount: max,
  });
  assert.equal(restarts(policy('no'), run), false);
  assert.equal(restarts(policy('always'), { ...run, exitCode: 0 }), true);
  assert.equal(restarts(policy('unless-stopped'), { ...run, stoppedByUser: true }), false);
  assert.equal(restarts(policy('on-failure'), run), true);
  assert.equal(restarts(policy('on-failure'), { ...run, exitCode: 0 }), false);
  assert.equal(restarts(policy('on-failure', 2), run), false);
  assert.equal(restarts(policy('on-failure', 3), run), true);
  assert.equal(restartDelayMs(0, 0), 100);
  assert.equal(restartDelayMs(100, 5), 200);
  assert.equal(restartDelayMs(60_000, 5), 60_000);
  assert.equal(restartDelayMs(60_000, 10_000), 100);
});

test('of a variable that is set several times, the last setting counts', () => {
  assert.deepEqual(mergeEnv(['A=1', 'B=2'], ['A=3', 'C=']), ['A=3', 'B=2', 'C=']);
});

test('frames arrive whole in pieces of any size; anything else is refused', () => {
  const socket = new PassThrough();
  const writer = new FrameWriter(socket);
  writer.send('stdout', Buffer.from('hello'));
  writer.sendMessage({ type: 'exited', exitCode: 3 });
  writer.send('stdin', new Uint8Array());
  writer.send('stderr', Buffer.from('x'.repeat(1000)));
  const bytes: Buffer = socket.read();
  for (const size of [1, 3, 7, 100, bytes.length]) {
    const seen: string[] = [];
    const reader = new FrameReader({
      data: (kind, chunk) => seen.push(`${kind}:${chunk}`),
      message: (message) => seen.push(JSON.stringify(message)),
    });
    for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
    const joined = seen.reduce<string[]>((all, one) => {
      const [kind = '', ...rest] = one.split(':');
      const last = all.at(-1);
      if (last?.startsWith(`${kind}:`)) all[all.length - 1] = last + rest.join(':');
      else all.push(one);
      return all;
    }, []);
    assert.deepEqual(joined, [
      'stdout:hello',
      '{"type":"exited","exitCode":3}',
      'stdin:',
      `stderr:${'x'.repeat(1000)}`,
    ]);
  }
  const reader = new FrameReader({ data: () => {}, message: () => {} });
  assert.throws(() => reader.push(Buffer.from('GET / HTTP/1.1\r\n')), /not a frame/);
});
