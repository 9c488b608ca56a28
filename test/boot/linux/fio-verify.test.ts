/**
 * fio writes at random, with flushes, to a file system on a disk, and tsvm is killed meanwhile. The next
 * boot replays the journal, and all that fio had flushed verifies.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { hostPrograms } from '../../support/guest-network.ts';
import { BOOT_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { qemuCheck, qemuImgOutput } from '../../support/qemu-img.ts';
import { Random, seedFrom } from '../../support/random.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const DATA_BYTES = 64 * 2 ** 20;
/** With the libraries that fio loads. */
const ROOT_MIB = 256;
const SEED = seedFrom(process.env['TSVM_SEED'], 1);
const KILLS = 3;
/** Files that each life writes and flushes, at least, before it is killed. */
const FILES_BEFORE_KILL = 2;
const KILL_DELAY_MS = 200;
/** Files are reused, so that writes replace blocks that were flushed before. */
const FILES = 8;

/** An ext4 file system on a disk of its own. */
async function dataDisk(t: TestContext, format: 'raw' | 'qcow2'): Promise<string> {
  const folder = temporaryFolder(t);
  const raw = join(folder, 'data.img');
  writeFileSync(raw, '');
  truncateSync(raw, DATA_BYTES);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', raw]);
  if (format === 'raw') return raw;
  const disk = join(folder, 'data.qcow2');
  await qemuImgOutput('convert', '-f', 'raw', '-O', 'qcow2', raw, disk);
  return disk;
}

/**
 * fio's job of a round, the same for writing and for verifying: each block has its offset and the round
 * in it, so that an older one is noticed. Odd rounds bypass the page cache.
 */
const JOB = `job() {
  file=$(($1 % ${FILES})); shift
  fio --name=f$file --filename=/mnt/f$file --size=2M --bs=4k --rw=randwrite --randseed=$round \\
    --ioengine=psync --direct=$((round % 2)) --verify=pattern --verify_pattern=%o\\"round$round\\" --fsync=16 --end_fsync=1 \\
    --thread --output=/tmp/fio.txt "$@" || { cat /tmp/fio.txt; echo "fail""ed $round"; }
}`;

const MOUNT = 'mount -t ext4 /dev/vdb /mnt && dmesg | grep "EXT4-fs (vdb)"';

/** The lines of the shell, without their own echo: each word that is waited for has quotes in it. */
function numbers(stdout: string, word: string): number[] {
  return Array.from(stdout.matchAll(new RegExp(`^${word} (\\d+)\\r?$`, 'gm')), ([, n]) =>
    Number(n),
  );
}

for (const format of ['raw', 'qcow2'] as const) {
  test(`kill -9 amid random writes with flushes: all that was flushed verifies, ${format}, seed ${SEED}`, async (t) => {
    const root = await rootDisk(t, hostPrograms('/usr/bin/fio'), ROOT_MIB);
    const disk = await dataDisk(t, format);
    const args = ['boot', '--disk', `${root},overlay`, '--disk', disk, '--cpus', '2'];
    const random = new Random(SEED);
    /** By file, the round that was flushed last. */
    const flushed = new Map<number, number>();
    let round = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const first = round + 1;
      let stdout = '';
      let isDying = false;
      const script = `${JOB}
${MOUNT}
round=${first}; while :; do echo "beg""in $round"; job $round --do_verify=0; sync -f /mnt/f$((round % ${FILES})); echo "flu""shed $round"; round=$((round + 1)); done`;
      const killed = await runTsvm(args, {
        input: `${script}\n`,
        timeoutMs: BOOT_TIMEOUT_MS,
        onStdout: (text, child) => {
          stdout = text;
          if (isDying || numbers(text, 'flushed').length < FILES_BEFORE_KILL) return;
          isDying = true;
          setTimeout(() => child.kill('SIGKILL'), random.below(KILL_DELAY_MS));
        },
      }).catch(() => undefined);
      assert.ok(isDying && killed === undefined, `${stdout}\n${killed?.stderr}`);
      assert.doesNotMatch(stdout, /^failed/m);
      if (kill > 0) assert.match(stdout, /EXT4-fs \(vdb\): recovery complete/, 'the journal');
      for (const done of numbers(stdout, 'flushed')) flushed.set(done % FILES, done);
      // What was being written when it was killed may be either.
      round = Math.max(...numbers(stdout, 'begin'));
      if (flushed.get(round % FILES) !== round) flushed.delete(round % FILES);
    }
    assert.ok(flushed.size >= FILES_BEFORE_KILL, 'there is something to verify');

    const rounds = [...flushed.values()];
    const { stdout, code } = await runTsvm(args, {
      input: `${JOB}
${MOUNT}
for round in ${rounds.join(' ')}; do job $round --verify_only && echo "veri""fied $round"; done
umount /mnt; poweroff\n`,
      timeoutMs: BOOT_TIMEOUT_MS,
    });
    assert.equal(code, 0);
    assert.match(stdout, /EXT4-fs \(vdb\): recovery complete/);
    assert.doesNotMatch(stdout, /^failed|EXT4-fs error|I\/O error/m);
    assert.deepEqual(numbers(stdout, 'verified'), rounds, stdout.slice(-3000));

    const raw = join(temporaryFolder(t), 'check.img');
    await qemuImgOutput('convert', '-f', format, '-O', 'raw', disk, raw);
    const check = spawnSync('e2fsck', ['-f', '-n', raw], { encoding: 'utf8' });
    assert.equal(check.status, 0, check.stdout + check.stderr);
    if (format === 'qcow2') {
      const { corruptions, checkErrors, text } = await qemuCheck(disk);
      assert.deepEqual([corruptions, checkErrors], [0, 0], text);
    }
  });
}
