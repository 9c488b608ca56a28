/** The PCI bus as Debian's pciutils decode it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { stageRootFiles } from '../../../guest-images/rootfs/build-root-disk.ts';
import { unpackDebianPackage } from '../../support/debian-packages.ts';
import { BOOT_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const PACKAGES = [
  ...['pciutils', 'libpci3', 'pci.ids', 'libkmod2', 'libudev1'],
  ...['libc6', 'libzstd1', 'liblzma5', 'libssl3', 'zlib1g'],
];

async function rootWithPciutils(context: TestContext): Promise<string> {
  const folder = temporaryFolder(context);
  const [root, image] = [join(folder, 'root'), join(folder, 'root.ext4')];
  mkdirSync(root);
  await stageRootFiles(root);
  for (const name of PACKAGES) unpackDebianPackage(name, root);
  writeFileSync(image, '');
  truncateSync(image, 128 * 2 ** 20);
  execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', root, image]);
  return image;
}

test('lspci -vv decodes each device without a complaint, and the kernel has none', async (context) => {
  const disk = await rootWithPciutils(context);
  const { code, stdout, stderr } = await runTsvm(
    ['boot', '--transport', 'pci', '--disk', disk, '--balloon'],
    {
      input: 'lspci -vvv -xxxx > /tmp/out 2>&1; cat /tmp/out; lspci -tv; dmesg; poweroff\n',
      timeoutMs: BOOT_TIMEOUT_MS,
    },
  );
  assert.equal(code, 0, stderr);
  // The guest's root has no modules for lspci to name.
  const text = stdout.replaceAll('\r', '').replace(/^lspci: Unable to load libkmod.*$/gm, '');
  const devices = [...text.matchAll(/^[0-9a-f]{2}:[0-9a-f]{2}\.0 .*\n(?:.+\n)+/gm)].map(
    ([all]) => all,
  );
  const kinds = devices.map((each) => /^\S+ (.*?): /.exec(each)?.[1]);
  assert.equal(kinds[0], 'Host bridge', text);
  assert.equal(devices.length, 4, text);
  for (const device of devices.slice(1)) {
    assert.match(device, /Red Hat, Inc\. Virtio/, device);
    assert.match(device, /Control:.* Mem\+ BusMaster\+.* DisINTx\+/, device);
    assert.match(
      device,
      /Region 0: Memory at e1[0-9a-f]{6} \(32-bit, non-prefetchable\) \[size=32K\]/,
    );
    assert.match(
      device,
      /MSI-X: Enable\+ Count=\d+ Masked-\n\s+Vector table: BAR=0.*\n\s+PBA: BAR=0/,
    );
    for (const structure of ['CommonCfg', 'Notify', 'ISR', 'DeviceCfg']) {
      assert.match(
        device,
        new RegExp(`VirtIO: ${structure}\\n\\s+BAR=0 offset=[0-9a-f]+ size=`),
        device,
      );
    }
    assert.match(device, /Kernel driver in use: virtio-pci/, device);
  }
  const complaint =
    /^.*(pcilib|lspci:|!!!|<\?>|unknown header|malformed|chain loop|access denied).*$/im;
  assert.equal(complaint.exec(text)?.[0], undefined);
  const kernel =
    /^\[.*(pci|virtio|msi|acpi).*(error|warn|fail|invalid|conflict|can't|not reserved).*$/im;
  assert.equal(kernel.exec(text)?.[0], undefined);
});
