import assert from 'node:assert/strict';
import { readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createFile } from '../../../../../vmm/backends/disk/file/open-file.ts';
import { ReservingFile } from '../../../../../vmm/backends/disk/file/reserving-file.ts';
import type { HostFiles } from '../../../../../vmm/host/host-files.ts';
import { hostFiles } from '../../../../../vmm/host/host-files.ts';
import { pattern, temporaryFolder } from '../../../../support/disk-fixtures.ts';

const folder = temporaryFolder();
after(() => folder.remove());
const KIB = 1024;
const EXT4 = 0xef53;
const notExt4 = statfsSync(folder.path).type === EXT4 ? false : 'temporary files are not on ext4';

/** A file, and the reservations that it asked for; `code`: what the host says to them. */
function newFile(name: string, code?: string) {
  const asked: [offset: number, length: number][] = [];
  const real = hostFiles();
  const files: HostFiles = {
    lockFile: real.lockFile,
    isFileLocked: real.isFileLocked,
    seekData: real.seekData,
    seekHole: real.seekHole,
    zeroFile: real.zeroFile,
    allocateFile: (fd, offset, length) => {
      asked.push([offset, length]);
      if (code !== undefined) throw Object.assign(new Error(`the host says ${code}`), { code });
      real.allocateFile(fd, offset, length);
    },
  };
  const path = join(folder.path, name);
  return { path, asked, file: new ReservingFile(path, createFile(path, files), false, files) };
}

test('long writes ask for exactly their space, short ones do not', { skip: notExt4 }, async () => {
  const { asked, file, path } = newFile('long.img');
  const data = pattern(512 * KIB, 5);
  file.writeSync(64 * KIB, data);
  file.writeSync(0, data.subarray(0, 4 * KIB));
  await file.write(1024 * KIB, data);
  assert.deepEqual(asked, [
    [64 * KIB, 512 * KIB],
    [1024 * KIB, 512 * KIB],
  ]);
  const expected = new Uint8Array(1536 * KIB);
  expected.set(data.subarray(0, 4 * KIB));
  expected.set(data, 64 * KIB);
  expected.set(data, 1024 * KIB);
  assert.deepEqual(new Uint8Array(readFileSync(path)), expected);
  assert.equal(file.nextHoleSync(64 * KIB), 576 * KIB);
  assert.equal(file.nextDataSync(576 * KIB), 1024 * KIB);
  file.close();
});

for (const code of ['EOPNOTSUPP', 'ENOSPC']) {
  test(`space that cannot be reserved, ${code}, is written all the same`, {
    skip: notExt4,
  }, async () => {
    const { asked, file, path } = newFile(`${code}.img`, code);
    const data = pattern(300 * KIB, 6);
    file.writeSync(10, data);
    await file.write(10 + data.length, data);
    assert.equal(asked.length, 2);
    const expected = Buffer.concat([new Uint8Array(10), data, data]);
    assert.ok(readFileSync(path).equals(expected));
    file.close();
  });
}
