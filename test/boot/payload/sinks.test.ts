/** Where output goes, and what becomes of a machine when that fails, is full or is not read. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PAYLOAD, runShell, TSVM, temporaryFolder } from '../../support/tsvm-process.ts';
import { until } from '../../support/until.ts';

const BOOT = '"$TSVM" boot --memory 64M --acpi off --kernel "$PAYLOAD"';
const LOST =
  /^tsvm: warn: \S.* cannot be written \(the disk is full\): the guest keeps running, .* lost$/;

/** Lines of ours; on a busy host there may be one more, that the guest is slow. */
const lines = (text: string) =>
  text.split('\n').filter((line) => line !== '' && !line.includes('without output so far'));

for (const [sink, redirection] of [
  ['--console file: on a full disk', '--console file:/dev/full'],
  ['standard output on a full disk', '>/dev/full'],
] as const) {
  test(`${sink}: one line, and the guest runs to its end`, async () => {
    const { code, stderr } = await runShell(
      `${BOOT} --append "tests=serial-flood count=200" ${redirection}`,
    );
    assert.equal(code, 0);
    assert.equal(lines(stderr).length, 1, stderr);
    assert.match(lines(stderr)[0] ?? '', LOST);
  });
}

test('a closed reader of standard output is reported, and the guest keeps running', async () => {
  const { stdout, stderr } = await runShell(
    `{ ${BOOT} --append "tests=serial-flood count=5000"; echo "code $?" >&2; } | head -1`,
  );
  assert.equal(stdout, 'payload: hello\n');
  assert.match(stderr, /the reader of standard output has closed it: the guest keeps running/);
  assert.match(stderr, /code 0/);
  assert.equal(lines(stderr).length, 2, stderr);
});

const FAULTS = 'tests=bad-loop,bad-self-loop,bad-next-range,bad-head-range,blk-pattern';
const WITH_DISK = `truncate -s 16M d.raw; ${BOOT} --disk d.raw --append ${FAULTS}`;

for (const [sink, script] of [
  ['on a full disk', `${WITH_DISK} 2>/dev/full`],
  ['whose reader has gone', `{ { ${WITH_DISK}; } 2>&1 >&3 | head -1 >/dev/null; } 3>&1`],
  ['closed', `${WITH_DISK} 2>&-`],
  [
    'that nobody reads, and is full',
    `mkfifo log; sleep 600 <log & exec 3>log
     dd if=/dev/zero bs=4k count=100 of=log oflag=nonblock conv=notrunc 2>/dev/null
     ${WITH_DISK} 2>log`,
  ],
] as const) {
  test(`messages to a standard error ${sink} cost the machine nothing`, async () => {
    const { stdout } = await runShell(script);
    assert.match(stdout, /^done passed=5 failed=0/m);
  });
}

test('--console file: a named pipe waits for its reader, with a message', async () => {
  const { code, stdout, stderr } = await runShell(
    `mkfifo log
     ${BOOT} --append tests=cpuid --console file:log 2>err & vm=$!
     until [ -s err ]; do sleep 0.1; done; cat err >&2
     cat log
     wait $vm`,
  );
  assert.equal(code, 0);
  assert.match(stderr, /^tsvm: waiting for a program that reads log/);
  assert.match(stdout, /^done passed=1 failed=0/m);
});

test('SIGTERM ends the wait for a reader', async () => {
  const { code } = await runShell(
    `mkfifo log; ${BOOT} --console file:log 2>err & vm=$!
     until [ -s err ]; do sleep 0.1; done; kill -TERM $vm; wait $vm`,
  );
  assert.equal(code, 128 + 15);
});

test('a named pipe’s next reader gets the output from there on', async () => {
  const { stdout, stderr } = await runShell(
    `said() { until grep -qs "$1" err; do sleep 0.1; done; }
     mkfifo log; ${BOOT} --append "tests=serial-flood count=100000000" --console file:log 2>err & vm=$!
     head -c 5000 log >/dev/null; said "has closed it"
     (head -c 5000 | tail -1; exec cat >/dev/null) <log & said "written again"
     kill -TERM $vm; wait; cat err >&2`,
  );
  assert.match(stdout, /^\d/);
  assert.match(stderr, /the reader of log has closed it/);
  assert.match(stderr, /log can be written again; .* were lost/);
});

test('output that is not read is reported once; SIGTERM ends the machine', async () => {
  const { code, stderr } = await runShell(
    `mkfifo out; : >err; sleep 600 <out &
     ${BOOT} --append "tests=serial-flood count=100000000" >out 2>err & vm=$!
     until grep -qs waiting err; do sleep 0.1; done
     sleep 1; kill -TERM $vm; wait $vm; code=$?; cat err >&2; exit $code`,
  );
  assert.equal(code, 128 + 15);
  assert.equal(lines(stderr).length, 1, stderr);
  assert.match(stderr, /output is waiting for the reader of standard output/);
});

test('a terminal that is not read does not keep SIGTERM from ending the machine', async (t) => {
  const pidFile = join(temporaryFolder(t), 'pid');
  const boot = `exec ${TSVM} boot --memory 64M --kernel ${PAYLOAD} --acpi off`;
  const command = `echo $$ >${pidFile}; ${boot} --append 'tests=serial-flood count=100000000'`;
  // Nobody reads what `script` writes: its pipe fills, and then the terminal that it serves.
  const child = spawn('script', ['-qc', command, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.after(() => child.kill('SIGKILL'));
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  await until('it starts', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
  const pid = Number(readFileSync(pidFile, 'utf8'));
  // The vCPU stands still once nothing more is taken.
  const ticks = () => readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ').slice(13, 15).join();
  for (let before = ''; before !== ticks(); await wait(1000)) before = ticks();
  process.kill(pid, 'SIGTERM');
  await until('it ends', () => !existsSync(`/proc/${pid}/fd/0`));
});

test('--metrics that cannot be written is refused before the guest runs', async () => {
  for (const [path, reason] of [
    ['missing/m.json', /folder does not exist/],
    ['.', /it is a folder/],
    ['/proc/m.json', /cannot be written to \/proc/],
  ] as const) {
    const { code, stdout, stderr } = await runShell(`${BOOT} --metrics ${path}`);
    assert.equal(code, 125, path);
    assert.equal(stdout, '');
    assert.match(stderr, reason);
  }
});

test('metrics that fail at the end leave the guest’s exit code alone', async () => {
  for (const [setUp, path] of [
    [':', '/dev/full'],
    ['mkfifo pipe', 'pipe'],
  ] as const) {
    const { code, stderr } = await runShell(
      `${setUp}; ${BOOT} --append exit=triple --metrics ${path}`,
    );
    assert.equal(code, 1);
    assert.match(stderr, /warn: the metrics cannot be written/);
  }
});

test('neither the console nor the metrics may overwrite the machine’s files', async () => {
  const { stdout, stderr } = await runShell(
    `echo disk >d.raw; truncate -s 1M d.raw; ln d.raw other; before=$(sha256sum <d.raw)
     ${BOOT} --disk d.raw --console file:other; echo "code $?"
     ${BOOT} --disk d.raw --metrics d.raw; echo "code $?"
     ${BOOT} --console file:x --metrics x; echo "code $?"
     [ "$before" = "$(sha256sum <d.raw)" ] && echo intact`,
  );
  assert.match(stdout, /^code 2\ncode 2\n(?:.*\n)*intact\n$/);
  assert.match(stderr, /--console would overwrite d\.raw/);
});

test('a full host disk is reported once, also for a raw disk', async () => {
  const { stdout, stderr } = await runShell(
    `truncate -s 16M d.raw; ulimit -f 1024
     ${BOOT} --disk d.raw --append "bench=blk-seqwrite bs=128K count=100"`,
  );
  assert.match(stdout, /not ok/);
  assert.equal(lines(stderr).length, 1, stderr);
  assert.match(stderr, /d\.raw: the host cannot carry out a write: .*\(EFBIG\)/);
});
