/**
 * Debian's programs on the default guest's kernel: compilers, interpreters with threads and code of
 * their own making, and stress-ng, which checks what it computes.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debianProgramsDisk } from '../../support/debian-programs.ts';
import { BOOT_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runTsvm } from '../../support/tsvm-process.ts';

/** stress-ng's stressors run in groups of six, each with this many workers for this long. */
const WORKERS = 1;
const SECONDS = 3;

const LANGUAGES = ['perl', 'python3', 'gcc', 'node'];
const GROUPS = ['cpu', 'memory', 'processes', 'signals', 'caches'];

test('perl, python3, gcc, Node and stress-ng, 2 vCPUs; the kernel has no complaint', async () => {
  const disk = await debianProgramsDisk();
  const { stdout, stderr } = await runTsvm(
    ['boot', '--disk', `${disk},ro`].concat([...['--cpus', '2', '--memory', '1G']]),
    {
      input: `sh /usr/lib/debian-programs/programs.sh ${WORKERS} ${SECONDS}; dmesg; poweroff\n`,
      timeoutMs: BOOT_TIMEOUT_MS,
    },
  );
  let sum = 0;
  for (let x = 1; x <= 300_000; x++) sum += x * (x % 997);
  const failed = /^not ok .*\n(.*\n){0,30}/m.exec(stdout)?.[0];
  assert.equal(failed, undefined, stderr);
  assert.match(stdout, /^programs: done$/m, stdout.slice(-3000));
  for (const name of LANGUAGES) assert.match(stdout, new RegExp(`^ok ${name} ${sum}\\r?$`, 'm'));
  for (const name of GROUPS) {
    assert.match(stdout, new RegExp(`^ok stress-${name} .*successful run completed`, 'm'));
  }
  const complaint =
    /^.*(BUG:|WARNING:|Oops|stall on|Call Trace|lockup|protection fault|hung_task).*$/m.exec(
      stdout,
    )?.[0];
  assert.equal(complaint, undefined);
});
