/** The terminal: raw while a machine runs, and as it was after every way out. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { TerminalSession } from '../../support/terminal-session.ts';
import { PAYLOAD, runTsvm, TSVM } from '../../support/tsvm-process.ts';
import { until } from '../../support/until.ts';

const TIMEOUT_MS = 120_000;

/** A guest that waits for a line, in a terminal whose settings are printed before and after. */
async function waitingGuest(t: TestContext): Promise<{ session: TerminalSession; pid: number }> {
  const tsvm = `${TSVM} boot --kernel ${PAYLOAD} --acpi off --append tests=serial-echo`;
  const session = new TerminalSession(
    t,
    // What restores it after a SIGKILL is another process.
    `before=$(stty -g); echo "$before"; sh -c 'echo "pid $$"; exec ${tsvm}'; echo "exit code $?"
     for i in $(seq 600); do [ "$(stty -g)" = "$before" ] && break; sleep 0.1; done; stty -g`,
  );
  await session.waitFor(/echo:/, TIMEOUT_MS);
  const [, pid] = await session.waitFor(/pid (\d+)/, TIMEOUT_MS);
  return { session, pid: Number(pid) };
}

async function assertRestored(session: TerminalSession, code: number): Promise<void> {
  await session.waitFor(new RegExp(`exit code ${code}`), TIMEOUT_MS);
  await session.end(TIMEOUT_MS);
  const settings = session.screen().match(/(?<=^ *)[0-9a-f:]{30,}$/gm);
  assert.equal(settings?.length, 2, session.screen());
  assert.equal(settings[0], settings[1], 'the terminal is as it was');
}

test('keyboard input, including Ctrl-C, reaches the guest; its poweroff restores the terminal', async (t) => {
  const { session } = await waitingGuest(t);
  session.type('typed\x03 by hand\r');
  await session.waitFor(/echo: typed.? by hand/, TIMEOUT_MS);
  await assertRestored(session, 0);
});

test('Ctrl-A h helps, Ctrl-A x leaves', async (t) => {
  const { session } = await waitingGuest(t);
  session.type('\x01h');
  await session.waitFor(/Ctrl-A x\s+end the virtual machine/, TIMEOUT_MS);
  session.type('\x01x');
  await assertRestored(session, 128 + 15);
});

for (const [signal, code] of [
  ['SIGTERM', 128 + 15],
  ['SIGHUP', 128 + 1],
  ['SIGSEGV', 128 + 11],
  ['SIGKILL', 128 + 9],
] as const) {
  test(`${signal} restores the terminal`, async (t) => {
    const { session, pid } = await waitingGuest(t);
    process.kill(pid, signal);
    await assertRestored(session, code);
  });
}

test('the guest’s bytes reach the terminal unchanged: a line feed adds no carriage return', async (t) => {
  const { session } = await waitingGuest(t);
  // The payload ends its lines by LF alone.
  await session.waitFor(/payload: hello\n {14}\S/, TIMEOUT_MS);
  session.type('\x01x');
  await assertRestored(session, 128 + 15);
});

/** A guest that is a job of an interactive shell, and has been stopped. */
async function stoppedJob(t: TestContext): Promise<{ session: TerminalSession; pid: number }> {
  const session = new TerminalSession(t, 'PS1="prompt> " bash --norc --noprofile -i');
  await session.waitFor(/prompt>/, TIMEOUT_MS);
  const tsvm = `${TSVM} boot --kernel ${PAYLOAD} --acpi off --append tests=serial-echo`;
  session.type(`sh -c 'echo "pid $$"; exec ${tsvm}'\r`);
  await session.waitFor(/echo: *$/, TIMEOUT_MS);
  const pid = Number((await session.waitFor(/^pid (\d+)/m, TIMEOUT_MS))[1]);
  process.kill(pid, 'SIGSTOP');
  await session.waitFor(/Stopped/, TIMEOUT_MS);
  return { session, pid };
}

/** Whether a machine's terminal passes Ctrl-C on as a byte. The shell's line editor does not. */
function isRaw(pid: number): boolean {
  const settings = execFileSync('stty', ['-a', '-F', `/proc/${pid}/fd/0`], { encoding: 'utf8' });
  return /-isig\b/.test(settings);
}

test('SIGTERM ends a machine in the background, which stops for no terminal', async (t) => {
  const { session, pid } = await stoppedJob(t);
  session.type('bg\r');
  await session.waitFor(/prompt> bg\s+\[1\]/, TIMEOUT_MS);
  session.type('kill %1\r');
  await until('it ends', () => !existsSync(`/proc/${pid}/fd/0`));
  session.type('exit\r');
  await session.end(TIMEOUT_MS);
});

test('input for the shell does not stop a machine in the background', async (t) => {
  const { session, pid } = await stoppedJob(t);
  session.type('bg\r');
  await session.waitFor(/prompt> bg\s+\[1\]/, TIMEOUT_MS);
  session.type('echo for the shell\r');
  await session.waitFor(/^for the shell$/m, TIMEOUT_MS);
  assert.match(readFileSync(`/proc/${pid}/stat`, 'utf8'), /\) [SRD] /, 'it is not stopped');
  session.type('fg\r');
  await session.waitFor(/prompt> fg\s+sh -c/, TIMEOUT_MS);
  await until('the terminal is raw again', () => isRaw(pid));
  session.type('for the guest\r');
  await session.waitFor(/ok serial-echo characters=13/, TIMEOUT_MS);
  session.type('exit\r');
  await session.end(TIMEOUT_MS);
});

test('a machine that was stopped has a raw terminal again in the foreground', async (t) => {
  const { session, pid } = await stoppedJob(t);
  session.type('fg\r');
  await session.waitFor(/prompt> fg\s+sh -c/, TIMEOUT_MS);
  await until('the terminal is raw again', () => isRaw(pid));
  // Ctrl-C is one of the characters that reach the guest.
  session.type('typed\x03 by hand\r');
  await session.waitFor(/ok serial-echo characters=14/, TIMEOUT_MS);
  await session.waitFor(/prompt>$/, TIMEOUT_MS);
  session.type('exit\r');
  await session.end(TIMEOUT_MS);
});

test('--console tty without a terminal is refused', async () => {
  const { code, stderr } = await runTsvm(['boot', '--kernel', PAYLOAD, '--console', 'tty']);
  assert.equal(code, 2);
  assert.match(stderr, /--console stdio/);
});
