/** The serial console: input that arrives too early, output that arrives too fast. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { PAYLOAD, runPayload, TSVM } from '../../support/tsvm-process.ts';

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

test('a flood of output arrives whole and in order', async () => {
  const lines = 1000;
  const { code, stdout } = await runPayload(`tests=serial-flood count=${lines}`);
  assert.equal(code, 0);
  assert.deepEqual(
    lineNumbers(stdout),
    Array.from({ length: lines }, (_, index) => index),
  );
});

test('a flood into a reader that has stopped is bounded in memory, and waits for it', async () => {
  const lines = 200_000;
  const child = spawn(
    TSVM,
    ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', `tests=serial-flood count=${lines}`],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  // Nobody reads: the pipe fills, then the ring, then the guest waits.
  await new Promise((resolve) => setTimeout(resolve, 7000));
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  const residentBytes = Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
  assert.ok(residentBytes < 160 * MIB, `${residentBytes} bytes resident`);

  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.length > 150_000) child.kill('SIGTERM');
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 128 + 15);
  const numbers = lineNumbers(output);
  assert.ok(numbers.length > 2000);
  assert.ok(
    numbers.every((number, index) => number === index),
    'lines are missing',
  );
});

test('SIGTERM ends a machine whose output nobody reads', async () => {
  const child = spawn(
    TSVM,
    ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', 'tests=serial-flood count=200000'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await new Promise((resolve) => setTimeout(resolve, 7000));
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [code, signal] = await exited;
  clearTimeout(timer);
  child.stdout.destroy();
  assert.deepEqual([code, signal], [128 + 15, null]);
});
