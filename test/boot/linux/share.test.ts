/** Folders of the host that a Linux guest mounts: virtio-fs, served by virtiofsd. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findVirtiofsd } from '../../../vmm/backends/fs/virtiofsd.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { compileGuestProgram, initrdOf } from '../../support/initrd.ts';
import { BOOT_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runTsvm, TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

const SOURCE = join(packageRoot(), 'test/support/guest-programs/share_check.c');
const NAMES = ['many-files', 'renames', 'links', 'locks', 'mappings', 'programs', 'ways-out'];

interface Place {
  /** The shared folder. */
  readonly share: string;
  readonly args: readonly string[];
}

/** A folder to share, with a file beside it that the guest must not reach. */
function makePlace(t: TestContext, flags = '', append = ''): Place {
  const folder = temporaryFolder(t);
  // Others than root are to reach it.
  chmodSync(folder, 0o755);
  const share = join(folder, 'share');
  const program = join(folder, 'share_check');
  const initrd = join(folder, 'initrd');
  compileGuestProgram(program, [SOURCE]);
  writeFileSync(initrd, initrdOf(program));
  mkdirSync(join(share, 'inside'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'secret');
  symlinkSync(join(folder, 'secret'), join(share, 'absolute'));
  symlinkSync('../secret', join(share, 'relative'));
  symlinkSync('..', join(share, 'folder-link'));
  writeFileSync(join(share, 'given'), 'from the host');
  copyFileSync(program, join(share, 'program'));
  chmodSync(join(share, 'program'), 0o755);
  const args = [
    ...['boot', '--initrd', initrd, '--cpus', '2', '--append', append],
    ...['--share', `${share}:s${flags}`],
  ];
  return { share, args };
}

/** The virtiofsd processes that serve this folder, without those in namespaces of their own. */
function servers(share: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words[0]?.endsWith('virtiofsd') && words.includes(`source=${share}`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function untilNoServer(share: string): Promise<void> {
  for (let tries = 0; servers(share).length > 0; tries += 1) {
    assert.ok(tries < 2400, 'virtiofsd does not end');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('10,000 files, renames, links, locks, mappings, programs, and no way out', async (t) => {
  const { share, args } = makePlace(t);
  const metrics = join(temporaryFolder(t), 'metrics.json');
  const { code, stdout, stderr } = await runTsvm([...args, '--metrics', metrics], {
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  for (const name of NAMES)
    assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stdout + stderr);
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stderr, /warn|error|virtiofsd/);
  assert.equal(readdirSync(join(share, 'folder99')).length, 100);
  assert.equal(readFileSync(join(share, 'folder7/file42'), 'utf8'), '42 of 7');
  assert.equal(readFileSync(join(share, 'renamed'), 'utf8'), 'still open');
  const mapped = readFileSync(join(share, 'mapped'));
  assert.ok(mapped.every((byte, i) => byte === ((i * 7 + (i >> 8)) & 0xff)));
  await untilNoServer(share);
  const { chains, scriptWakes } = JSON.parse(readFileSync(metrics, 'utf8')).counters.share0;
  assert.ok(chains > 20_000, `${chains} requests`);
  assert.ok(scriptWakes <= 1, `JavaScript was woken ${scriptWakes} times for requests`);
});

test('a read-only share cannot be written, whatever the guest mounts', async (t) => {
  const { share, args } = makePlace(t, ',ro', 'only=read-only');
  const { code, stdout, stderr } = await runTsvm(args, { timeoutMs: BOOT_TIMEOUT_MS });
  assert.match(stdout, /^ok read-only\b/m, stdout + stderr);
  assert.equal(code, 0, stderr);
  assert.ok(!existsSync(join(share, 'new')));
  writeFileSync(join(share, 'host'), 'the host still writes');
});

test('virtiofsd dies: its device fails, the machine continues', async (t) => {
  const { share, args } = makePlace(t, '', 'only=backend-dies');
  let killed = false;
  const { code, stdout, stderr } = await runTsvm(args, {
    timeoutMs: BOOT_TIMEOUT_MS,
    onStdout: (text) => {
      if (killed || !text.includes('busy\r\n')) return;
      killed = true;
      for (const pid of servers(share)) process.kill(pid, 'SIGKILL');
    },
  });
  assert.match(stdout, /the guest goes on/, stdout + stderr);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /share0: its backend process failed/);
});

test('virtiofsd ends with tsvm, even when tsvm is killed', async (t) => {
  const { share, args } = makePlace(t, '', 'only=backend-dies');
  const child = spawn(TSVM, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
    if (text.includes('busy\r\n')) child.kill('SIGKILL');
  });
  await once(child, 'close');
  assert.match(text, /busy/);
  await untilNoServer(share);
});

test('without virtiofsd, and for a folder that is not there, one clear error', async (t) => {
  const { args } = makePlace(t);
  const missing = await runTsvm([...args.slice(0, -1), '/nowhere/at/all:s']);
  assert.equal(missing.code, 125);
  assert.match(missing.stderr, /^tsvm: the folder \/nowhere\/at\/all cannot be shared: .+\n$/);
  // Every place where virtiofsd may be is hidden, in a mount namespace.
  const program = findVirtiofsd();
  const script = 'mount --bind /dev/null "$0" && exec "$@"';
  const hidden = ['-m', 'sh', '-c', script, program, TSVM, ...args];
  assert.throws(
    () => execFileSync('unshare', hidden, { stdio: 'pipe', timeout: BOOT_TIMEOUT_MS }),
    ({ status, stderr }: { status: number; stderr: Buffer }) => {
      assert.match(
        String(stderr),
        /install the package virtiofsd \(in Debian 12: qemu-system-common\)/,
      );
      return status === 125;
    },
  );
});
