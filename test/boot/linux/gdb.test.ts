/** Debian's GDB as the client, with the payload and with a Linux guest. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BOOT_TIMEOUT_MS, tunedKernel } from '../../support/linux-guest.ts';
import { PAYLOAD, type RunOptions, runTsvm } from '../../support/tsvm-process.ts';

const GDB_TIMEOUT_MS = 120_000;

/** Boots with `args`, and runs GDB with these commands as soon as it can connect. */
async function debug(
  t: TestContext,
  args: readonly string[],
  { program, commands }: { program: string; commands: readonly string[] },
  options: RunOptions = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-gdb-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const socket = join(folder, 'gdb');
  const running = runTsvm(['boot', '--gdb', `${socket},wait`, ...args], {
    timeoutMs: BOOT_TIMEOUT_MS,
    ...options,
  });
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
  const script = ['set pagination off', 'set confirm off', `target remote ${socket}`, ...commands];
  const words = script.flatMap((command) => ['-ex', command]);
  const gdb = spawn('gdb', ['-nx', '-batch', ...words, program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: GDB_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  let text = '';
  for (const stream of [gdb.stdout, gdb.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
  }
  const [code] = await once(gdb, 'close');
  assert.equal(code, 0, text);
  return { text, result: await running, socket };
}

test('GDB debugs the payload: functions, registers, memory, a watchpoint, the rest of the run', async (t) => {
  const { text, result, socket } = await debug(
    t,
    ['--kernel', PAYLOAD, '--acpi', 'off', '--append', 'tests=cpuid'],
    {
      program: PAYLOAD,
      commands: [
        'break boot_info_read',
        'continue',
        'backtrace',
        'watch *(char*)&boot_info',
        'continue',
        'delete',
        'break tests_run',
        'continue',
        'stepi',
        'stepi',
        'set $rbx = 0x1122334455',
        'print/x $rbx',
        'info registers eflags cr0 efer mxcsr',
        'print/x *(int*)($rsp - 64) = 0x600d',
        'x/wx $rsp - 64',
        'x/x 0xffff800000000000',
        'monitor info registers',
        'delete',
        'detach',
      ],
    },
  );
  assert.match(text, /Breakpoint 1, 0x\w+ in boot_info_read \(\)/);
  assert.match(text, /#0 .* in boot_info_read \(\)\n#1 .* in payload_main \(\)/);
  assert.match(
    text,
    /Hardware watchpoint 2: \*\(char\*\)&boot_info\n\nOld value = 0 .*\nNew value/,
  );
  assert.match(text, /Breakpoint 3, 0x\w+ in tests_run \(\)/);
  assert.equal(text.match(/^0x\w+ in tests_run \(\)$/gm)?.length, 2, text);
  assert.match(text, /= 0x1122334455$/m);
  assert.match(
    text,
    /^eflags .*\[.*\]\ncr0 +0x8\w+ .*\nefer +0x500 .*\nmxcsr +0x1f80 +\[ IM DM ZM OM UM PM \]/m,
  );
  assert.match(text, /:\t0x0000600d$/m);
  assert.match(text, /Cannot access memory at address 0xffff800000000000/);
  assert.match(text, /^k_gs_base +0x/m);
  assert.match(text, /\[Inferior 1 \(Remote target\) detached\]/);
  assert.equal(result.code, 0, result.stderr);
  assert.match(result.stderr, /the guest waits for a debugger: gdb vmlinux -ex 'target remote/);
  assert.match(result.stdout, /done passed=1 failed=0/);
  assert.equal(existsSync(socket), false);
});

test('GDB debugs a Linux guest with two vCPUs, which then goes on', async (t) => {
  const kernel = tunedKernel();
  if ('missing' in kernel) return t.skip(kernel.missing);
  const { vmlinuxPath } = kernel;
  // The kernel has no symbols in its ELF file.
  const map = readFileSync(join(dirname(vmlinuxPath), 'System.map'), 'utf8');
  const address = (name: string) => {
    const [, digits] = new RegExp(`^(\\w+) \\w ${name}$`, 'm').exec(map) ?? [];
    assert.ok(digits, `System.map has no ${name}`);
    return `0x${digits}`;
  };
  const { text, result } = await debug(
    t,
    ['--cpus', '2'],
    {
      program: vmlinuxPath,
      commands: [
        `hbreak *${address('start_kernel')}`,
        'continue',
        `x/s ${address('linux_banner')}`,
        'delete',
        `break *${address('do_sys_openat2')}`,
        'continue',
        'x/s $rsi',
        'stepi',
        'info threads',
        'delete',
        `watch *(unsigned long*)${address('jiffies_64')}`,
        'continue',
        'continue',
        'delete',
        'detach',
      ],
    },
    { input: 'nproc; echo the guest goes""on\npoweroff\n' },
  );
  assert.match(text, new RegExp(`Breakpoint 1, ${address('start_kernel')} in`));
  assert.match(text, /"Linux version 6\.12/);
  assert.match(text, new RegExp(`Breakpoint 2, ${address('do_sys_openat2')} in`));
  // The first file that the guest's init opens.
  assert.match(text, /^0x\w+:\t"\/\S+"$/m);
  assert.match(text, /Thread 1 "vCPU 0".*\n.*Thread 2 "vCPU 1"/);
  const values = [...text.matchAll(/^(?:Old|New) value = (\d+)$/gm)].map(([, value]) =>
    Number(value),
  );
  const [before = NaN, first = NaN, again = NaN, second = NaN] = values;
  assert.ok(values.length === 4 && before < first && first === again && first < second, text);
  assert.match(result.stdout, /^2\r?\nthe guest goeson/m);
  assert.equal(result.code, 0, result.stderr);
});
