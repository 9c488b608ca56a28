/** The serial console: input that arrives too early, output that arrives too fast. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { PAYLOAD, runPayload, TSVM, temporaryFolder } from '../../support/tsvm-process.ts';
import { until } from '../../support/until.ts';

const MIB = 2 ** 20;

/** The numbers of the flood's lines that are whole. */
function lineNumbers(output: string): number[] {
  return [...output.matchAll(/^(\d{8}) [a-z]{54}$/gm)].map(([, number]) => Number(number));
}

test('input from a pipe that was there before the guest reaches it whole', async () => {
  const line = 'x'.repeat(3000);
  const { code, stdout } = await runPayload('tests=serial-echo', [], { input: `${line}\n` });
  assert.equal(code, 0);
  assert.ok(stdout.includes(line), stdout.slice(0, 500));
});

test('a flood of output arrives completely and in order', async () => {
  const lines = 1000;
  const { code, stdout } = await runPayload(`tests=serial-flood count=${lines}`);
  assert.equal(code, 0);
  assert.deepEqual(
    lineNumbers(stdout),
    Array.from({ length: lines }, (_, index) => index),
  );
});

test('a flood into a reader that has stopped is bounded in memory, and waits for it', async (t) => {
  const { child, pipe, filledBytes } = await floodNobodyReads(t);
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const residentBytes = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  assert.ok(residentBytes < 160 * MIB, `${residentBytes} bytes resident`);

  const closed = once(child, 'close');
  const reader = new Socket({ fd: pipe, writable: false });
  let output = '';
  reader.setEncoding('latin1').on('data', (text: string) => {
    output += text;
    if (output.length > filledBytes + 100_000) child.kill('SIGTERM');
  });
  const [code] = await closed;
  reader.destroy();
  assert.equal(code, 128 + 15);
  const numbers = lineNumbers(output);
  // More than the ring and the stream can buffer, so the guest has continued.
  assert.ok(numbers.length > 1400, `${numbers.length} lines`);
  assert.ok(
    numbers.every((number, index) => number === index),
    'lines are missing',
  );
});

test('SIGTERM ends a machine whose output is not read', async (t) => {
  const { child, pipe } = await floodNobodyReads(t);
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  const [code, signal] = await closed;
  clearTimeout(timer);
  closeSync(pipe);
  assert.deepEqual([code, signal], [128 + 15, null]);
});

/**
 * A machine that floods a pipe, which is full already, and whose guest has filled the ring and waits.
 * @returns the pipe's end to read from, for the caller to close, and what is in it beforehand
 */
async function floodNobodyReads(
  t: TestContext,
): Promise<{ child: ChildProcess; pipe: number; filledBytes: number }> {
  const path = join(temporaryFolder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const pipe = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const end = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  const filledBytes = fill(end);
  const words = 'tests=serial-flood count=200000';
  const child = spawn(TSVM, ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', words], {
    stdio: ['ignore', end, 'pipe'],
  });
  closeSync(end);
  t.after(() => child.kill('SIGKILL'));
  let messages = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    messages += text;
  });
  // Before that, it rests as well if the host is busy.
  await until('it finds the pipe full', () => messages.includes('output is waiting'));
  await untilIdle(child);
  return { child, pipe, filledBytes };
}

/** @returns how much went into a pipe, which must not block */
function fill(fd: number): number {
  const dots = Buffer.alloc(4096, '.');
  for (let filled = 0; ; ) {
    try {
      filled += writeSync(fd, dots);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return filled;
      throw error;
    }
  }
}

/** Resolves when a process uses no processor time any more. */
async function untilIdle({ pid }: ChildProcess): Promise<void> {
  const ticks = () => {
    const [utime, stime] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
      .slice(11, 13);
    return Number(utime) + Number(stime);
  };
  for (let before = -1, now = ticks(); now !== before; now = ticks()) {
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}
