/** The PCI transport, as Linux sees it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOOT_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { runTsvm } from '../../support/tsvm-process.ts';

const SCRIPT = `
cat /proc/interrupts
for d in /sys/bus/pci/devices/*; do echo "pci $(cat $d/vendor) $(cat $d/device)"; done
dd if=/dev/zero of=/root/data bs=1M count=8 conv=fsync
md5sum /root/data
dmesg | grep -iE 'pci|virtio|msi|acpi'
poweroff
`;

test('disks, entropy, sockets and the balloon on PCI: a message a queue, no complaint', async (t) => {
  const disk = await rootDisk(t);
  const { code, stdout } = await runTsvm(
    ['boot', '--transport', 'pci', '--cpus', '2', '--disk', disk, '--balloon'],
    { input: SCRIPT, timeoutMs: BOOT_TIMEOUT_MS },
  );
  assert.equal(code, 0, stdout.slice(-3000));
  assert.match(stdout, /96995b58d4cbf6aaa9041b4f00c7f6ae {2}\/root\/data/);
  const devices = [...stdout.matchAll(/^pci 0x1af4 (0x[0-9a-f]+)/gm)].map(([, id]) => id);
  assert.deepEqual(devices, ['0x1042', '0x1045', '0x1044']);
  // One a queue of the disk, and one for changes of its configuration.
  const vectors = stdout.match(/PCI-MSIX-0000:00:01.0\s+[0-9]+-edge/g) ?? [];
  assert.equal(vectors.length, 3, stdout);
  assert.doesNotMatch(stdout, /pci.*(error|fail|invalid|conflict|can't|not reserved)/i);
  assert.doesNotMatch(stdout, /ACPI (BIOS )?(Error|Warning)/);
});
