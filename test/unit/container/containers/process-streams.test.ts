import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { GuestProcess, ProcessEnd } from '../../../../vmm/container/agent/agent.ts';
import { ProcessStreams } from '../../../../vmm/container/containers/container-streams.ts';

function process() {
  const streams = {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
  };
  const { promise: ended, resolve: end } = Promise.withResolvers<ProcessEnd>();
  const guest: GuestProcess = { id: 2, ...streams, ended };
  return { ...streams, guest, end };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('input that comes before the process starts reaches it, and so does its end', async () => {
  const { guest, stdin } = process();
  const streams = new ProcessStreams();
  assert.equal(streams.input(Buffer.from('early ')), false);
  streams.endInput();
  streams.connect(guest);
  assert.equal((await stdin.toArray()).join(''), 'early ');
});

test('a slow viewer holds the process up, but not its end', async () => {
  const { end, guest, stderr, stdout } = process();
  const streams = new ProcessStreams();
  const seen: string[] = [];
  streams.addViewer({
    write: (_, bytes) => {
      seen.push(String(bytes));
      return false;
    },
  });
  const drained = streams.connect(guest);
  stdout.write('one');
  await turn();
  stdout.write('two');
  stderr.write('err');
  await turn();
  assert.deepEqual(seen, ['one']);
  end({ exitCode: 0 });
  stdout.end();
  stderr.end();
  await drained;
  assert.equal(seen.sort().join(' '), 'err one two');
});

test('a viewer that leaves holds nobody up', async () => {
  const { guest, stdout } = process();
  const streams = new ProcessStreams();
  const seen: string[] = [];
  const slow = { write: () => false };
  streams.addViewer(slow);
  streams.addViewer({ write: (_, bytes) => seen.push(String(bytes)) > 0 });
  streams.connect(guest);
  stdout.write('one');
  await turn();
  stdout.write('two');
  await turn();
  assert.deepEqual(seen, ['one']);
  streams.removeViewer(slow);
  await turn();
  assert.deepEqual(seen, ['one', 'two']);
});

test('a hostile guest that sends without end after the end of its process is cut off', async () => {
  const { end, guest, stderr, stdout } = process();
  let bytes = 0;
  const streams = new ProcessStreams({
    write: (_, chunk) => {
      bytes += chunk.byteLength;
    },
  });
  const drained = streams.connect(guest);
  end({ exitCode: 0 });
  stderr.end();
  await turn();
  const chunk = Buffer.alloc(2 ** 20);
  for (let sent = 0; sent < 100 && !stdout.destroyed; sent++) {
    stdout.write(chunk);
    await turn();
  }
  await drained;
  assert.ok(bytes <= 18 * 2 ** 20, `${bytes} bytes`);
});
