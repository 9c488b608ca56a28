/** That tsvm ends when it is told to, whatever a device, the event loop or a fault of ours does. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { TerminalSession } from '../../support/terminal-session.ts';
import { PAYLOAD, runShell } from '../../support/tsvm-process.ts';

const NODE = process.execPath;
const ODD = join(packageRoot(), 'test/support/odd-machine.ts');
/** The two seconds that are promised, and what a host that is busy may add. */
const DEADLINE_MS = 2000 + 58_000;

/** A machine with a fault, once `ready` is on one of its streams. */
async function oddMachine(t: TestContext, fault: string, words: string, ready: RegExp) {
  const child = spawn(NODE, [ODD, fault, PAYLOAD, words], { stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  const output = { text: '' };
  await new Promise<void>((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`ended with ${code}: ${output.text}`)));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output.text += text;
        if (ready.test(output.text)) resolve();
      });
    }
  });
  return { child, output };
}

/** The exit code, and how long it took from now on. */
async function ended(child: ChildProcess): Promise<{ code: number | null; ms: number }> {
  const start = performance.now();
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, ms: performance.now() - start };
}

for (const [signal, number] of [
  ['SIGTERM', 15],
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGQUIT', 3],
] as const) {
  test(`${signal} ends a machine with a device that never closes`, async (t) => {
    const { child, output } = await oddMachine(t, 'never-closes', 'tests=serial-echo', /echo:/);
    child.kill(signal);
    const { code, ms } = await ended(child);
    assert.equal(code, 128 + number);
    assert.ok(ms < DEADLINE_MS, `${ms} ms`);
    assert.match(output.text, /did not end in time/);
  });
}

test('SIGTERM ends a process whose event loop is busy for ever', async (t) => {
  const { child, output } = await oddMachine(t, 'busy-for-ever', 'tests=serial-echo', /busy/);
  child.kill('SIGTERM');
  const { code, ms } = await ended(child);
  assert.equal(code, 128 + 15);
  assert.ok(ms < DEADLINE_MS, `${ms} ms`);
  assert.match(output.text, /did not end in time/);
});

for (const fault of ['never-closes', 'busy-for-ever']) {
  test(`a second SIGTERM ends it at once: ${fault}`, async (t) => {
    const ready = fault === 'busy-for-ever' ? /busy/ : /echo:/;
    const { child, output } = await oddMachine(t, fault, 'tests=serial-echo', ready);
    // How soon it handles the first is up to the host.
    const again = setInterval(() => child.kill('SIGTERM'), 250);
    t.after(() => clearInterval(again));
    const { code } = await ended(child);
    assert.equal(code, 128 + 15);
    assert.doesNotMatch(output.text, /did not end in time/, 'it ends before its deadline');
  });
}

test('Ctrl-A x ends a machine with a device that never closes; the terminal is restored', async (t) => {
  const odd = `${NODE} ${ODD} never-closes ${PAYLOAD} tests=serial-echo`;
  const session = new TerminalSession(t, `stty -g; ${odd}; echo "exit code $?"; stty -g`);
  await session.waitFor(/echo:/, DEADLINE_MS);
  session.type('\x01x');
  await session.waitFor(/exit code 143/, DEADLINE_MS);
  await session.end(DEADLINE_MS);
  const settings = session.screen().match(/(?<=^ *)[0-9a-f:]{30,}$/gm);
  assert.equal(settings?.length, 2, session.screen());
  assert.equal(settings[0], settings[1]);
});

for (const [fault, words] of [
  ['timer-throws', 'thrown in a timer'],
  ['rejects-alone', 'rejected alone'],
] as const) {
  test(`a fault of ours ends the machine with code 125, not 1: ${fault}`, async (t) => {
    const { child, output } = await oddMachine(t, fault, 'tests=serial-echo', /echo:/);
    child.kill('SIGUSR2');
    const { code, ms } = await ended(child);
    assert.equal(code, 125);
    assert.ok(ms < DEADLINE_MS, `${ms} ms`);
    assert.match(output.text, new RegExp(`error: Error: ${words}`));
  });
}

test('an exception in a callback from the addon is not lost', async (t) => {
  const { child, output } = await oddMachine(t, 'wake-throws', 'tests=cpuid', /thrown in a wake/);
  const { code } = await ended(child);
  assert.equal(code, 125);
  assert.doesNotMatch(output.text, /DEP0168/);
});

test('each failure of close is reported, and replaces only exit code 0', async (t) => {
  for (const [words, expected] of [
    ['exit=acpi', 125],
    ['exit=triple', 1],
  ] as const) {
    const { child, output } = await oddMachine(t, 'close-fails', words, /second failure/);
    const { code } = await ended(child);
    assert.equal(code, expected);
    assert.match(output.text, /first failure/);
  }
});

test('with timeout(1), which signals twice, the machine still shuts down in order', async () => {
  const { code, stdout } = await runShell(
    // A host that is busy may take longer to start it.
    `for seconds in 2 8 30; do
       timeout $seconds "$TSVM" boot --acpi off --kernel "$PAYLOAD" --append tests=serial-echo \\
         --metrics m.json >out; code=$?
       grep -q echo: out && break
     done
     echo "code $code"; grep -c ended m.json`,
  );
  assert.equal(code, 0);
  assert.match(stdout, /code 124\n1\n$/);
});
