/** A real guest whose root file system is an image's: what its kernel sees, against umoci's tree. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { generateLayers } from '../../container/layer-generator.ts';
import { umociUnpack } from '../../container/umoci-trees.ts';
import { makeImage, writeLayout } from '../../support/image-maker.ts';
import { BOOT_TIMEOUT_MS, defaultGuest } from '../../support/linux-guest.ts';
import { wholeDisk, writeLayers } from '../../support/mounted-rootfs.ts';
import { Random } from '../../support/random.ts';
import { type MadeMember, makeTar } from '../../support/tar-maker.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

/**
 * Every name with what stat(1) says of it, targets of links, and hashes of files. A program each for
 * all of them: to start one is what takes time in a guest whose kernel is emulated.
 */
const LIST = `cd "$1"
find . -xdev -exec busybox stat -c '%N %f %u %g %Y %t:%T' {} +
find . -xdev -type f -exec busybox sha256sum {} +
`;
const INIT = `#!/bin/busybox sh
export PATH=/bin
echo BEGIN
list() {
${LIST}}
list / | gzip | base64
echo END
poweroff -f
`;
/** What is not of the generated layers, or differs between a bundle and a running system. */
const OWN = /^(?:'?|[0-9a-f]{64} {2})\.\/(?:bin|init|dev|proc)\b|^\. /;

function lines(listing: string): string[] {
  return listing
    .split('\n')
    .filter((line) => line !== '' && !OWN.test(line))
    .sort();
}

function busyboxLayer(): MadeMember[] {
  const applets = ['sh', 'find', 'poweroff', 'gzip', 'base64'];
  return [
    { name: 'bin/', type: '5' },
    { name: 'proc/', type: '5' },
    { name: 'dev/', type: '5' },
    { name: 'bin/busybox', data: readFileSync('/bin/busybox'), mode: 0o755 },
    ...applets.map((name) => ({ name: `bin/${name}`, type: '2', linkName: 'busybox' })),
    { name: 'init', data: INIT, mode: 0o755 },
  ];
}

test('the guest\u2019s kernel sees what umoci unpacks', async (t) => {
  const folder = temporaryFolder(t);
  const layers = [...generateLayers(new Random(42)), makeTar(busyboxLayer())];
  const layout = join(folder, 'layout');
  mkdirSync(layout);
  writeLayout(layout, makeImage({ layers, packing: 'none' }));
  const unpacked = umociUnpack(folder, layout);
  const expected = execFileSync('busybox', ['sh', '-c', LIST, 'sh', unpacked], {
    encoding: 'latin1',
    maxBuffer: 2 ** 26,
  });
  const disk = wholeDisk(folder, writeLayers(folder, layers));
  const append = 'root=/dev/vda ro rootfstype=erofs init=/init quiet';
  const { code, stdout } = await runTsvm(
    [
      'boot',
      '--kernel',
      defaultGuest().vmlinuxPath,
      '--disk',
      `${disk},format=raw,ro`,
      '--append',
      append,
    ],
    // It starts programs as well, which takes long where kernels are emulated.
    { timeoutMs: 2 * BOOT_TIMEOUT_MS },
  );
  assert.equal(code, 0, stdout.slice(-2000));
  const packed = /BEGIN\r?\n([\s\S]*)END/.exec(stdout)?.[1] ?? '';
  const actual = execFileSync('gzip', ['-dc'], {
    input: Buffer.from(packed, 'base64'),
    maxBuffer: 2 ** 26,
    encoding: 'latin1',
  });
  assert.ok(lines(expected).length > 20);
  assert.deepEqual(lines(actual), lines(expected));
});
