/** PCI's registers with a hostile driver under KVM. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runPayload } from '../../support/tsvm-process.ts';

test('configuration spaces of every width, BARs and MSI-X tables that lie: the functions work after it', async () => {
  const names = ['pci-config', 'pci-bars', 'pci-msix'];
  const { code, stdout, stderr } = await runPayload(`tests=${names.join(',')}`, [
    ...['--transport', 'pci', '--balloon', '--memory', '64M'],
  ]);
  for (const name of names) {
    assert.match(stdout, new RegExp(`^ok ${name}\\b`, 'm'), stdout + stderr);
  }
  assert.equal(code, 0);
});
