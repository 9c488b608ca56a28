/**
 * A host with hardware virtualization on any machine: QEMU's translator emulates a processor with
 * AMD-V, Debian's kernel in it loads kvm-amd, and tsvm's tests run on that KVM.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { EmulatorFault, showsImpossibleFlags } from './emulator-fault.ts';
import type { HostImage } from './host-image.ts';
import { ALIVE_MS, type HostedTest, type HostMessage } from './results.ts';
import type { HostPlan } from './test-list.ts';

export interface EmulatedHostOptions extends HostPlan {
  readonly image: HostImage;
  /** The host is ended, and has failed, after this. */
  readonly timeoutMs: number;
}

/** Taken from this machine as the host uses it: for its files, and for guests of some tests. */
const MEMORY = '4G';

/**
 * Without a sign of life for so long, the host stands still: not even its clock goes on, and no program in
 * it can do that. Busy machines are slow, too.
 */
const STILL_MS = 60 * ALIVE_MS;

/** Lines of the host's log in an error. */
const LOG_LINES = 40;

/** MiB of translated code that QEMU keeps, a GiB unless told. */
const TRANSLATED_MIB = 256;

/**
 * One thread, one processor: with a thread for each, QEMU before 8.1 may execute an instruction that
 * another processor has replaced, and Linux replaces its own when the first virtual machine starts.
 */
const ACCELERATOR = `tcg,thread=single,tb-size=${TRANSLATED_MIB}`;

function startQemu({ image, cpu, files }: EmulatedHostOptions, logPath: string): ChildProcess {
  // On a busy machine, Linux finds that its timer does not work, and panics.
  const checks = 'no_timer_check mitigations=off';
  const words = `console=ttyS0 panic=-1 ${checks} quiet tests=${files.join(',')}`;
  // Whatever ends this process ends QEMU.
  return spawn(
    'setpriv',
    [
      '--pdeathsig',
      'KILL',
      'qemu-system-x86_64',
      '-machine',
      'q35',
      '-accel',
      ACCELERATOR,
      '-cpu',
      cpu,
      '-smp',
      '1',
      '-m',
      MEMORY,
    ]
      .concat(['-nodefaults', '-display', 'none', '-no-reboot'])
      .concat(['-kernel', image.kernelPath, '-initrd', image.initrdPath, '-append', words])
      .concat(['-serial', `file:${logPath}`, '-serial', 'stdio']),
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
}

/**
 * Boots the host, runs the files there and gives each test and each file as it ends.
 * @throws Error with the end of its log when the host ends before its tests have
 * @throws EmulatorFault when the host stands still, or a guest's processor has impossible flags
 */
export async function* runOnEmulatedHost(
  options: EmulatedHostOptions,
): AsyncGenerator<HostedTest | { readonly endedFile: string }, void> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-emulated-host-'));
  const logPath = join(folder, 'log');
  const qemu = startQemu(options, logPath);
  let said = '';
  let standsStill = false;
  const timer = setTimeout(() => {
    said += `killed after ${options.timeoutMs / 1000} s\n`;
    qemu.kill('SIGKILL');
  }, options.timeoutMs);
  const still = setTimeout(() => {
    said += `killed after ${STILL_MS / 1000} s without a sign of life\n`;
    standsStill = true;
    qemu.kill('SIGKILL');
  }, STILL_MS);
  qemu.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  qemu.on('error', (error) => {
    said += error.message;
  });
  try {
    if (qemu.stdout === null) throw new Error('QEMU has no output');
    for await (const line of createInterface({ input: qemu.stdout })) {
      still.refresh();
      const message = JSON.parse(line) as HostMessage;
      if ('done' in message) return;
      if ('test' in message) {
        const { failure } = message.test;
        if (failure !== undefined && showsImpossibleFlags(failure))
          throw new EmulatorFault(failure);
        yield message.test;
      }
      if ('endedFile' in message) yield message;
    }
    const log = readFileSync(logPath, 'utf8').split('\n').slice(-LOG_LINES).join('\n');
    const text = `the emulated host ended before its tests had:\n${said}${log}`;
    throw standsStill ? new EmulatorFault(text) : new Error(text);
  } finally {
    clearTimeout(timer);
    clearTimeout(still);
    qemu.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}
