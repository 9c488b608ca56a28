/** The C core's tests, as scripts/test.sh built them, on the processor that is emulated here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';

const FOLDER = join(packageRoot(), 'build/c-tests/test');

/**
 * Tests of the kernel-mode engine. It runs on kvm-pvm only, and several of its tests compare it with
 * the processor: QEMU's lacks instructions and prefixes that processors have.
 */
const ENGINE = /^(engine|differential)_/;

/** Tests of the data planes, which no processor changes. They run on the host outside. */
const DATA_PLANES =
  /^(blk|block|disk|event_loop|extent|io_engine|net|queue|rate|script|vhost|virtqueue|vsock)_/;

/** The sandbox's cleaner runs programs that there are not here, and no processor changes Landlock. */
const SANDBOX_FILES = 'sandbox_files_test';

const names = readdirSync(FOLDER).filter(
  (file) =>
    file.endsWith('_test') &&
    file !== SANDBOX_FILES &&
    !ENGINE.test(file) &&
    !DATA_PLANES.test(file),
);
for (const name of names) {
  test(name, () => {
    const { status, stdout, stderr } = spawnSync(join(FOLDER, name), { encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  });
}
