import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const TIMEOUT_MS = 60_000;

/** Node joins its threads at an exit. One that opens a named pipe without a writer never ends. */
test('process.exit does not wait for a thread that is busy for ever', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-exit-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const program = `
    import { open, writeSync } from 'node:fs';
    import { exitPromptly } from ${JSON.stringify(join(packageRoot(), 'vmm/host/prompt-exit.ts'))};
    exitPromptly();
    process.on('exit', (code) => writeSync(1, 'exit ' + code));
    open(${JSON.stringify(pipe)}, 'r', () => {});
    setTimeout(() => process.exit(7), 200);
  `;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  assert.deepEqual([status, stdout], [7, 'exit 7']);
});
