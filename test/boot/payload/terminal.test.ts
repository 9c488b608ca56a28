/** The terminal: raw while a machine runs, and as it was after every way out. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { TerminalSession } from '../../support/terminal-session.ts';
import { PAYLOAD, runTsvm, TSVM } from '../../support/tsvm-process.ts';

const TIMEOUT_MS = 20_000;

/** A guest that waits for a line, in a terminal whose settings are printed before and after. */
async function waitingGuest(t: TestContext): Promise<{ session: TerminalSession; pid: number }> {
  const tsvm = `${TSVM} boot --kernel ${PAYLOAD} --acpi off --append tests=serial-echo`;
  const session = new TerminalSession(
    t,
    `stty -g; sh -c 'echo "pid $$"; exec ${tsvm}'; echo "exit code $?"; sleep 0.5; stty -g`,
  );
  await session.waitFor(/echo:/, TIMEOUT_MS);
  const [, pid] = await session.waitFor(/pid (\d+)/, TIMEOUT_MS);
  return { session, pid: Number(pid) };
}

async function assertRestored(session: TerminalSession, code: number): Promise<void> {
  await session.waitFor(new RegExp(`exit code ${code}`), TIMEOUT_MS);
  await session.end(TIMEOUT_MS);
  const settings = session.screen().match(/^[0-9a-f:]{30,}$/gm);
  assert.equal(settings?.length, 2, session.screen());
  assert.equal(settings[0], settings[1], 'the terminal is as it was');
}

test('what is typed reaches the guest, Ctrl-C included; its poweroff restores the terminal', async (t) => {
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

test('--console tty without a terminal is refused', async () => {
  const { code, stderr } = await runTsvm(['boot', '--kernel', PAYLOAD, '--console', 'tty']);
  assert.equal(code, 2);
  assert.match(stderr, /--console stdio/);
});
