/** How a machine begins and ends: exit codes, signals, the console. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parsePrometheus } from '../../support/prometheus.ts';
import { PAYLOAD, runPayload, runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

test('a guest that powers off by ACPI ends with code 0', async () => {
  const { code, stdout } = await runPayload('tests=cpuid exit=acpi');
  assert.match(stdout, /^done passed=1 failed=0/m);
  assert.equal(code, 0);
});

test('a guest that resets ends with code 0', async () => {
  const { code } = await runPayload('exit=i8042');
  assert.equal(code, 0);
});

test('--on-reboot restart boots again, from the start', async () => {
  const { code, stdout } = await runPayload('exit=i8042', ['--on-reboot', 'restart'], {
    onStdout: (text, child) => {
      if (text.split('payload: hello').length > 3) child.kill('SIGTERM');
    },
  });
  assert.equal(code, 128 + 15);
  assert.ok(stdout.split('payload: hello').length > 3);
});

test('a triple fault ends with code 1', async () => {
  const { code, stderr } = await runPayload('exit=triple');
  assert.equal(code, 1);
  assert.match(stderr, /triple fault/);
});

test('a panic reported by pvpanic ends with code 1', async () => {
  const { code, stderr } = await runPayload('exit=pvpanic');
  assert.equal(code, 1);
  assert.match(stderr, /panicked/);
});

for (const [signal, number] of [
  ['SIGTERM', 15],
  ['SIGHUP', 1],
  ['SIGINT', 2],
] as const) {
  test(`${signal} ends a guest that waits, with code 128 + ${number}`, async () => {
    const { code } = await runPayload('tests=serial-echo', [], {
      onStdout: (_, child) => child.kill(signal),
    });
    assert.equal(code, 128 + number);
  });
}

test('an invalid command line ends with code 2 and an error message', async () => {
  for (const [args, message] of [
    [['--cpus', '0'], /from 1 to 32/],
    [['--cpus', '33'], /from 1 to 32/],
    [['--memory', 'much'], /512M/],
    [['--memory', '8M'], /from 16/],
    [['--console', 'wall'], /tty, stdio/],
    [['--disk', 'a.img,rw'], /Unknown flag 'rw'/],
    [['--disk', 'a.img,ro,overlay'], /needs no overlay/],
    [['--cmdline', 'a', '--append', 'b'], /contradict/],
    [['--cpu-mask', 'avx3'], /avx/],
    [['--no-such-option'], /unknown option/],
  ] as const) {
    const { code, stderr } = await runTsvm(['boot', '--kernel', PAYLOAD, ...args]);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
});

test('a host error ends with code 125 and a message that says what to do', async (t) => {
  const folder = temporaryFolder(t);
  for (const [args, message] of [
    [['--kernel', join(folder, 'none')], /none/],
    [['--kernel', folder], /not a regular file/],
    [['--kernel', '/etc/passwd'], /neither a bzImage nor an ELF/],
    [['--kernel', PAYLOAD, '--disk', join(folder, 'none.img')], /cannot be opened/],
    [['--kernel', PAYLOAD, '--disk', '/etc/passwd.vmdk'], /tsvm image convert/],
    [['--kernel', PAYLOAD, '--disk', '/etc/passwd,format=qcow2'], /not a qcow2 image/],
    [['--kernel', PAYLOAD, '--kvm', '/dev/null'], /cannot be used/],
    [['--kernel', PAYLOAD, '--kvm', '/dev/no-kvm'], /modprobe/],
    [['--kernel', PAYLOAD, '--initrd', join(folder, 'none')], /none/],
  ] as const) {
    const { code, stderr } = await runTsvm(['boot', ...args]);
    assert.equal(code, 125, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
});

test('--console file:PATH writes the guest’s output there', async (t) => {
  const path = join(temporaryFolder(t), 'console.log');
  const { code, stdout } = await runPayload('tests=cpuid', ['--console', `file:${path}`]);
  assert.equal(code, 0);
  assert.equal(stdout, '');
  assert.match(readFileSync(path, 'utf8'), /^done passed=1 failed=0/m);
});

test('--console none writes nothing', async () => {
  const { code, stdout } = await runPayload('tests=cpuid', ['--console', 'none']);
  assert.equal(code, 0);
  assert.equal(stdout, '');
});

test('the command line that is composed is printed at --log-level debug', async () => {
  const { stderr } = await runPayload('tests=cpuid', ['--log-level', 'debug']);
  assert.match(stderr, /kernel command line: console=ttyS0,115200n8r .*panic=-1.*tests=cpuid$/m);
});

test('--cmdline replaces the whole command line', async () => {
  const args = ['boot', '--kernel', PAYLOAD, '--log-level', 'debug', '--cmdline', 'exit=acpi'];
  const { code, stderr } = await runTsvm(args);
  assert.match(stderr, /kernel command line: exit=acpi$/m);
  assert.equal(code, 0);
});

test('--metrics FILE.prom writes counters for Prometheus', async (t) => {
  const path = join(temporaryFolder(t), 'metrics.prom');
  const { code } = await runPayload('tests=cpuid', ['--metrics', path, '--name', 'own-name']);
  assert.equal(code, 0);
  const samples = parsePrometheus(readFileSync(path, 'utf8'));
  const exits = samples.find(({ name }) => name === 'tsvm_vcpu_exits_total');
  assert.equal(exits?.labels['machine'], 'own-name');
});

test('--metrics writes stages, progress stamps and counters as JSON', async (t) => {
  const path = join(temporaryFolder(t), 'metrics.json');
  await runPayload('tests=cpuid port80=0x42', ['--metrics', path]);
  const metrics = JSON.parse(readFileSync(path, 'utf8'));
  const stages = metrics.stages.map(({ stage }: { stage: string }) => stage);
  assert.deepEqual(stages, ['host-probed', 'kernel-loaded', 'machine-ready', 'ended']);
  const [stamp] = metrics.progress;
  assert.equal(stamp.value, 0x42);
  const [, , ready, ended] = metrics.stages;
  assert.ok(stamp.atMs > ready.atMs && stamp.atMs < ended.atMs, JSON.stringify(metrics));
  assert.ok(metrics.counters.vcpus.exits > 0);
});
