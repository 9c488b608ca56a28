/**
 * Every verb ends: by itself on truncated images, and by a signal on hostile ones, which would take hours.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  openSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { after, before, test } from 'node:test';
import { fileBytes } from '../../support/disk-images.ts';
import { TSVM } from '../../support/tsvm-process.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
const SECONDS = 1000;
/** How long a verb works on the endless image before the signal; it starts in a tenth of that. */
const WORKS_FOR_MS = 500;

before(() => folder.makeChain());
after(() => folder.remove());

test('an image truncated at any place: each verb ends', async () => {
  await folder.qemuOutput('convert', '-O', 'qcow2', '%top.raw', '%whole.qcow2');
  const { size } = statSync(folder.file('whole.qcow2'));
  for (const less of [1, 70_000, size - 300_000]) {
    copyFileSync(folder.file('whole.qcow2'), folder.file('cut.qcow2'));
    truncateSync(folder.file('cut.qcow2'), size - less);
    for (const args of [
      ['map', '%cut.qcow2'],
      ['map', '--output', 'json', '%cut.qcow2'],
      ['check', '%cut.qcow2'],
      ['info', '%cut.qcow2'],
      ['convert', '%cut.qcow2', '%out.raw'],
      ['convert', '-c', '%cut.qcow2', '%out.qcow2'],
      ['compare', '%cut.qcow2', '%whole.qcow2'],
    ]) {
      const { stderr } = await folder.tsvm(args, { timeoutMs: 60 * SECONDS });
      assert.doesNotMatch(stderr, /^ {4}at /m, args.join(' '));
    }
  }
});

test('the map of a file that ends inside its last cluster is that of qemu-img', async () => {
  const { size } = statSync(folder.file('whole.qcow2'));
  for (const less of [4096, 8192, 61_440]) {
    copyFileSync(folder.file('whole.qcow2'), folder.file('cut.qcow2'));
    truncateSync(folder.file('cut.qcow2'), size - less);
    const args = ['map', '--output', 'json', '%cut.qcow2'];
    const bytesOf = (text: string) =>
      JSON.parse(text).reduce((sum: number, entry: { length: number }) => sum + entry.length, 0);
    assert.equal(
      bytesOf(await folder.tsvmOutput(...args)),
      bytesOf(await folder.qemuOutput(...args)),
    );
  }
});

/**
 * An image whose two million L1 entries all refer to one L2 table, in which each cluster of 512
 * bytes is a separate run: reading it practically never ends.
 */
async function makeHostile(name: string, ...args: string[]): Promise<void> {
  const options = ['-o', 'cluster_size=512'];
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...options, ...args, `%${name}`, '64G');
  const path = folder.file(name);
  const header = new DataView(fileBytes(path, 0, 72).buffer);
  const l1Bytes = header.getUint32(36) * 8;
  const l1Offset = Number(header.getBigUint64(40));
  const tableOffset = Math.ceil(Math.max(statSync(path).size, l1Offset + l1Bytes) / 512) * 512;
  const table = Buffer.alloc(512);
  for (let at = 0; at < 512; at += 16) table.writeBigUInt64BE(1n, at);
  const l1 = Buffer.alloc(l1Bytes);
  for (let at = 0; at < l1Bytes; at += 8) l1.writeBigUInt64BE(BigInt(tableOffset), at);
  const fd = openSync(path, 'r+');
  writeSync(fd, table, 0, 512, tableOffset);
  writeSync(fd, l1, 0, l1Bytes, l1Offset);
  closeSync(fd);
}

test('a hostile, practically endless image: each verb ends when a signal says so', async () => {
  await makeHostile('hostile.qcow2');
  copyFileSync(folder.file('hostile.qcow2'), folder.file('other.qcow2'));
  await makeHostile('over.qcow2', '-b', 'hostile.qcow2', '-F', 'qcow2');
  for (const args of [
    ['map', '%hostile.qcow2'],
    ['check', '%hostile.qcow2'],
    ['convert', '%hostile.qcow2', '%x.raw'],
    ['convert', '-c', '%hostile.qcow2', '%x.qcow2'],
    ['convert', '-B', 'base.qcow2', '%over.qcow2', '%x.qcow2'],
    ['compare', '%hostile.qcow2', '%other.qcow2'],
    ['rebase', '-b', 'other.qcow2', '%over.qcow2'],
    ['commit', '-d', '%over.qcow2'],
    ['resize', '--shrink', '%other.qcow2', '1M'],
  ]) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      // A verb that goes on is killed, and the test fails.
      await folder.tsvm(args, {
        timeoutMs: 120 * SECONDS,
        onStart: (child) => setTimeout(() => child.kill(signal), WORKS_FOR_MS),
      });
    }
  }
  assert.deepEqual(
    readdirSync(folder.path).filter((name) => /^x\.|partial/.test(name)),
    [],
  );
});

test('map ends when its output is closed', () => {
  execFileSync(
    'sh',
    ['-c', `'${TSVM}' image map --output json "$0" | head -n 1`, folder.file('over.qcow2')],
    { timeout: 120 * SECONDS },
  );
});
