/**
 * The sandbox of a running machine. The product is not changed for it: a debugger has the machine's threads
 * make system calls, as a guest would that has broken out.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { BOOT_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

const IS_ROOT = process.geteuid?.() === 0;
const SKIP = IS_ROOT ? {} : { skip: 'only root may debug a process in its sandbox' };

/** Numbers of system calls on x86-64. */
const CALLS = {
  openat: 257,
  socket: 41,
  execve: 59,
  ptrace: 101,
  kill: 62,
  unlink: 87,
  mkdir: 83,
  rename: 82,
  chmod: 90,
  connect: 42,
  getpid: 39,
  access: 21,
  chdir: 80,
  io_uring_setup: 425,
} as const;
const AT_FDCWD = -100;
const AF_INET = 2;
const READ = constants.O_RDONLY;
const WRITE = constants.O_RDWR;
const CREATE = constants.O_RDWR | constants.O_CREAT;

interface RunningTsvm {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Has a thread make a call. @returns the call's result, or `ended` when the process ends */
  inject(thread: string, call: keyof typeof CALLS, ...words: (string | number)[]): string;
}

/** Boots the default guest to its shell. */
async function boot(t: TestContext, ...options: string[]): Promise<RunningTsvm> {
  const folder = temporaryFolder(t);
  const program = join(folder, 'inject_call');
  const source = join(packageRoot(), 'test/support/host-programs/inject_call.c');
  execFileSync('gcc', ['-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-o', program, source]);
  const child = spawn(TSVM, ['boot', ...options], { stdio: 'pipe' });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  const hears = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (/built-in commands/.test(output)) hears.resolve();
    });
  }
  const timer = setTimeout(() => hears.reject(new Error(`no shell: ${output}`)), BOOT_TIMEOUT_MS);
  await hears.promise;
  clearTimeout(timer);
  const pid = child.pid ?? 0;
  return {
    ...{ pid, child, output: () => output },
    inject: (thread, call, ...words) => {
      const all = [`${pid}`, thread, `${CALLS[call]}`, ...words.map(String)];
      return execFileSync(program, all, { encoding: 'utf8', timeout: 120_000 }).trim();
    },
  };
}

const FORBIDDEN = [
  ['tsvm-vcpu0', 'a vCPU thread', 'openat', [AT_FDCWD, 's:/etc/passwd', 0]],
  ['tsvm-blk', "a disk's queue worker", 'socket', [AF_INET, 1, 0]],
  ['tsvm-rng', 'a queue worker', 'execve', ['s:/bin/true', 0, 0]],
  ['MainThread', 'a thread of JavaScript', 'socket', [AF_INET, 1, 0]],
  ['MainThread', 'a thread of JavaScript', 'connect', [0, 's:', 2]],
  ['MainThread', 'a thread of JavaScript', 'execve', ['s:/bin/true', 0, 0]],
  ['V8Worker', 'a thread of JavaScript', 'ptrace', [16, 1, 0, 0]],
  ['DelayedTaskSche', 'a thread of JavaScript', 'chmod', ['s:/tmp', 0o777]],
] as const;

for (const [thread, kind, call, words] of FORBIDDEN) {
  test(`${call} by ${kind} (${thread}) ends the machine with a message`, SKIP, async (t) => {
    const machine = await boot(t);
    const closed = once(machine.child, 'close');
    assert.equal(machine.inject(thread, call, ...words), 'ended');
    const [code] = await closed;
    assert.equal(code, 125, machine.output());
    const message = `tsvm: ${kind} made a system call that the sandbox forbids: ${call}. The machine is ended.`;
    assert.ok(machine.output().includes(message), machine.output());
  });
}

// Networks: sockets end the machine, see above. Sockets of UNIX are tested in C.
test('code in the process reaches no other file and no other process', SKIP, async (t) => {
  const folder = temporaryFolder(t);
  const secret = join(folder, 'secret');
  writeFileSync(secret, 'secret', { mode: 0o666 });
  const machine = await boot(t, '--disk', await rootDisk(t));
  const failed = (code: keyof typeof os.errno) => `${-os.errno[code]}`;
  const refusals = [failed('EACCES'), failed('ENOENT'), failed('EROFS')];
  for (const thread of ['MainThread', 'V8Worker']) {
    const attempt = machine.inject.bind(undefined, thread);
    assert.equal(attempt('getpid'), `${machine.pid}`, 'calls are injected');
    for (const [path, mode] of [
      [secret, READ],
      [secret, WRITE],
      [join(folder, 'new'), CREATE],
      ['/tmp/new', CREATE],
      ['/new', CREATE],
      ['/etc/passwd', READ],
      ['/dev/kvm', WRITE],
      ['/proc/1/environ', READ],
      ['/proc/self/mem', WRITE],
      [`/proc/${process.pid}/mem`, WRITE],
      ['/run/tsvm/machines', READ],
      ['/', READ],
    ] as const) {
      const result = attempt('openat', AT_FDCWD, `s:${path}`, mode, 0o600);
      assert.ok(refusals.includes(result), `${thread}: ${path}: ${result}`);
    }
    // Not even their names, sizes and times.
    for (const path of [
      secret,
      '/etc/passwd',
      '/proc/1',
      '/dev',
      '/run/tsvm/containers',
      '/home',
    ]) {
      assert.equal(attempt('access', `s:${path}`, 0), failed('ENOENT'), `${thread}: ${path}`);
    }
    assert.equal(attempt('chdir', 's:/..'), '0');
    assert.equal(attempt('access', 's:etc', 0), failed('ENOENT'), 'there is nothing above');
    for (const [call, ...words] of [
      ['unlink', `s:${secret}`],
      ['mkdir', `s:${join(folder, 'folder')}`, 0o700],
      ['rename', `s:${secret}`, `s:${join(folder, 'renamed')}`],
    ] as const) {
      assert.ok(refusals.includes(attempt(call, ...words)), `${thread}: ${call}`);
    }
    assert.equal(attempt('io_uring_setup', 1, 0), failed('EPERM'));
    assert.equal(attempt('kill', process.pid, 0), failed('EPERM'));
    assert.equal(attempt('kill', 1, 0), failed('EPERM'));
  }
  assert.deepEqual(readdirSync(folder), ['secret']);
  assert.equal(readFileSync(secret, 'utf8'), 'secret');
  // The machine is none the worse for it.
  machine.child.stdin?.write('poweroff\n');
  const [code] = await once(machine.child, 'close');
  assert.equal(code, 0, machine.output());
});

test('each thread of a machine has a user, namespaces and filters of its own', SKIP, async (t) => {
  const machine = await boot(t);
  const folder = `/proc/${machine.pid}/task`;
  const user = `${0x74000000 + machine.pid}`;
  const threads = readdirSync(folder).map((thread) => {
    const status = readFileSync(join(folder, thread, 'status'), 'utf8');
    const field = (name: string) =>
      new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1] ?? '';
    return { name: field('Name'), field, thread };
  });
  assert.ok(threads.length >= 8, `${threads.length} threads`);
  for (const { name, field, thread } of threads) {
    assert.deepEqual(field('Uid').split('\t'), [user, user, user, user], name);
    assert.deepEqual(field('Gid').split('\t'), [user, user, user, user], name);
    assert.equal(field('Groups').trim(), '', name);
    // CAP_DAC_READ_SEARCH, within what Landlock leaves.
    assert.equal(Number(`0x${field('CapEff')}`), 4, name);
    assert.equal(field('NoNewPrivs'), '1', name);
    assert.equal(field('Seccomp_filters'), /^(tsvm-|kvm)/.test(name) ? '2' : '1', name);
    for (const kind of ['net', 'ipc', 'mnt']) {
      const theirs = readlinkSync(join(folder, thread, 'ns', kind));
      assert.notEqual(theirs, readlinkSync(`/proc/self/ns/${kind}`), `${name}: ${kind}`);
    }
  }
});
