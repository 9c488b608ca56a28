/** A disk made of several files, as an image's root file system is, read by a driver. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { JoinedFilesDisk } from '../../vmm/backends/disk/machine/joined-files.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { attachDisk } from '../support/attached-disk.ts';
import { S_IOERR, S_OK } from '../support/block-driver.ts';
import { engines } from '../support/disk-fixtures.ts';
import { writeLayers, writeMetadata } from '../support/mounted-rootfs.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

for (const { engine, skip } of engines()) {
  test(`the concatenated metadata image and layers: ${engine}`, {
    skip,
  }, async (t) => {
    const folder = temporaryFolder(t);
    const layers = writeLayers(folder, [
      makeTar([{ name: 'a', data: 'first' }]),
      // An archive may end at any point after its last member.
      makeTar([{ name: 'b', data: 'second' }], Buffer.alloc(1024 + 77, 0)),
      makeTar([{ name: 'c', data: 'third' }]),
    ]);
    const paths = [writeMetadata(folder, layers), ...layers];
    const whole = Buffer.concat(
      paths.map((path) => {
        const { size } = statSync(path);
        return Buffer.concat([readFileSync(path), Buffer.alloc((512 - (size % 512)) % 512)]);
      }),
    );
    const disk = new JoinedFilesDisk(paths, hostFiles());
    assert.equal(disk.sizeBytes, whole.length);
    const { driver } = await attachDisk(t, disk, engine);
    for (let sector = 0; sector < whole.length / 512; sector++) {
      const { status, data } = await driver.read(sector, 512);
      assert.equal(status, S_OK);
      assert.deepEqual(Buffer.from(data), whole.subarray(512 * sector, 512 * (sector + 1)));
    }
    const all = await driver.read(0, whole.length);
    assert.deepEqual(Buffer.from(all.data), whole);
    assert.equal((await driver.write(0, new Uint8Array(512))).status, S_IOERR);
    assert.equal((await driver.read(whole.length / 512, 512)).status, S_IOERR);
  });
}

test('a file that is missing leaves none open', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'one'), 'x');
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const before = openFiles();
  assert.throws(
    () => new JoinedFilesDisk([join(folder, 'one'), join(folder, 'two')], hostFiles()),
    {
      code: 'file-unreadable',
    },
  );
  assert.equal(openFiles(), before);
});
