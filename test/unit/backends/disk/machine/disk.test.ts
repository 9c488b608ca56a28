import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import {
  type DiskBackend,
  resolveScriptRequests,
} from '../../../../../vmm/backends/disk/machine/disk.ts';
import { FakeDisk, scriptRequest } from '../../../../support/fake-disk.ts';

test('requests go to the backend in order; one that fails ends with EIO', async () => {
  const seen: number[] = [];
  const backend: DiskBackend = {
    sizeBytes: 4096,
    readOnly: false,
    scripted: { flush: false, discard: false, writeZeroes: false },
    attach: () => {},
    resolve: async (disk, { id }) => {
      seen.push(id);
      if (id === 2) throw new Error('the image is corrupt');
      disk.retry(id);
    },
    close: () => {},
  };
  const disk = new FakeDisk();
  disk.requests = [1, 2, 3].map((id) => scriptRequest(id, 'read', 0, 512));
  const errors: unknown[] = [];
  resolveScriptRequests(disk, backend, (error) => errors.push(error));
  await new Promise((next) => setImmediate(next));
  assert.deepEqual(seen, [1, 2, 3]);
  assert.deepEqual(disk.retries, [1, 3]);
  assert.deepEqual(disk.finishes, [{ id: 2, errno: constants.errno.EIO, data: undefined }]);
  assert.match(String(errors[0]), /corrupt/);
});
