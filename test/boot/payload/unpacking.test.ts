/** A kernel whose unpacking takes long: what a user sees, and how it is broken off. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { TSVM, temporaryFolder } from '../../support/tsvm-process.ts';
import { until } from '../../support/until.ts';
import { buildBzImage, buildElf, packPayload } from '../../unit/loader/kernel-fixtures.ts';

/** A kernel in xz format, an empty cache, and an xz that takes its time. */
function setUp(t: TestContext) {
  const folder = temporaryFolder(t);
  const kernel = join(folder, 'bzImage');
  writeFileSync(kernel, buildBzImage(packPayload('xz', buildElf(folder).bytes)));
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  writeFileSync(join(tools, 'xz'), '#!/bin/sh\nexec sleep 600\n');
  chmodSync(join(tools, 'xz'), 0o755);
  const cache = join(folder, 'cache');
  const env = { ...process.env, PATH: `${tools}:${process.env['PATH']}`, XDG_CACHE_HOME: cache };
  // A process group of its own, as a shell gives a job: a key reaches all that is in it.
  const child = spawn(TSVM, ['boot', '--kernel', kernel], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env,
    detached: true,
  });
  t.after(() => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {
      // Nothing of it is left.
    }
  });
  const output = { text: '' };
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.text += text;
  });
  return { child, output, kernels: join(cache, 'tsvm', 'kernels') };
}

const unpacking = (folder: string) => {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.partial'));
  } catch {
    return [];
  }
};

for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT', 'SIGHUP'] as const) {
  test(`${signal} to the process group breaks it off, and leaves no file`, async (t) => {
    const { child, output, kernels } = setUp(t);
    while (unpacking(kernels).length === 0) await new Promise((done) => setTimeout(done, 10));
    const start = performance.now();
    process.kill(-(child.pid ?? 0), signal);
    const [code] = await once(child, 'close');
    assert.equal(code, 128 + constants.signals[signal]);
    assert.ok(performance.now() - start < 60_000);
    assert.deepEqual(unpacking(kernels), []);
    // Where the signal comes late, the message of the next test is there.
    assert.match(output.text, /^(tsvm: preparing the kernel.*\n)?$/);
  });
}

test('a message appears', async (t) => {
  const { output } = setUp(t);
  await until('a message appears', () => output.text !== '');
  assert.match(output.text, /^tsvm: preparing the kernel/);
});
