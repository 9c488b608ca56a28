/** The default guest in a terminal, driven as a person would. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import {
  avxPrograms,
  BOOT_TIMEOUT_MS,
  COMMAND_TIMEOUT_MS,
  defaultGuest,
  PROMPT,
  processorHas,
  rootDisk,
  tunedKernel,
} from '../../support/linux-guest.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { runTsvm, TSVM } from '../../support/tsvm-process.ts';

test('two vCPUs, a disk that keeps written data, AVX in two tasks concurrently', async (t) => {
  const hasAvx = processorHas('xsave') && processorHas('avx2');
  if (!hasAvx) t.diagnostic('AVX left out: it needs a processor with XSAVE and AVX2');
  const disk = await rootDisk(t, hasAvx ? avxPrograms(t) : []);
  const session = new TerminalSession(
    t,
    `stty -g; ${TSVM} boot --cpus 2 --disk ${disk}; echo "exit code $?"; stty -g`,
  );
  await session.waitFor(PROMPT, BOOT_TIMEOUT_MS);

  session.type('nproc\r');
  await session.waitFor(/^2$/m, COMMAND_TIMEOUT_MS);
  for (const program of hasAvx ? ['avx-static', 'avx-dynamic'] : []) {
    session.type(`clear; ${program}\r`);
    await session.waitFor(/avx tasks (passed|failed)/, COMMAND_TIMEOUT_MS);
    assert.match(session.screen(), /avx tasks passed/);
    await session.waitFor(PROMPT, COMMAND_TIMEOUT_MS);
  }
  session.type('echo kept on the disk > /root/kept; sync; echo syn""ced\r');
  await session.waitFor(/^synced$/m, COMMAND_TIMEOUT_MS);
  session.type('poweroff\r');
  await session.waitFor(/exit code 0/, COMMAND_TIMEOUT_MS);
  await session.end(COMMAND_TIMEOUT_MS);

  const settings = session.screen().match(/^[0-9a-f:]{30,}$/gm);
  assert.equal(settings?.length, 2, session.screen());
  assert.equal(settings[0], settings[1], 'the terminal is as it was');

  const check = spawnSync('e2fsck', ['-f', '-n', disk], { encoding: 'utf8' });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  const kept = execFileSync('debugfs', ['-R', 'cat /root/kept', disk], { encoding: 'utf8' });
  assert.equal(kept, 'kept on the disk\n');
});

test('a pipe’s input reaches the shell whole, however fast it comes; poweroff ends it', async () => {
  // Several times what the guest's terminal buffers, ended by Ctrl-D. Not a here-document: those go
  // through the shell's line editor, whose system calls for each byte take minutes here.
  const text = Array.from({ length: 180 }, (_, line) => `${line} ${'y'.repeat(70)}\n`).join('');
  const { code, stdout } = await runTsvm(['boot'], {
    input: `cat > /tmp/in\n${text}\x04md5sum /tmp/in\nuname -a\npoweroff\n`,
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  assert.match(stdout, /^Linux \S+ 6\.12\.\d+/m);
  const [, md5] = /^([0-9a-f]{32}) {2}\/tmp\/in/m.exec(stdout) ?? [];
  assert.equal(md5, createHash('md5').update(text).digest('hex'), stdout.slice(-2000));
  assert.equal(code, 0);
});

test('an MP table in place of ACPI, a bare ELF kernel; reboot starts the machine again', async (t) => {
  const kernel = tunedKernel();
  if ('missing' in kernel) return t.skip(kernel.missing);
  const { kernelPath, vmlinuxPath } = kernel;
  const { rootDiskPath } = defaultGuest();
  assert.notEqual(kernelPath, vmlinuxPath);
  let boots = 0;
  const { code, stdout } = await runTsvm(
    ['boot', '--acpi', 'off', '--kernel', vmlinuxPath, '--disk', `${rootDiskPath},ro`].concat([
      '--on-reboot',
      'restart',
    ]),
    {
      input: 'reboot\n',
      timeoutMs: BOOT_TIMEOUT_MS,
      onStdout: (text, child) => {
        boots = text.split('Linux version').length - 1;
        if (boots === 2) child.kill('SIGTERM');
      },
    },
  );
  assert.equal(boots, 2, stdout);
  assert.equal(code, 128 + 15);
});

test('a panic ends with code 1', async () => {
  const { code, stdout } = await runTsvm(['boot', '--append', 'root=/dev/none'], {
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  assert.match(stdout, /Kernel panic - not syncing: /);
  assert.equal(code, 1);
});
