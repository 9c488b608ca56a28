import type { TestContext } from 'node:test';
import type { DiskBackend } from '../../vmm/backends/disk/machine/disk.ts';
import type { DiskEngine } from '../../vmm/kvm/queue-workers.ts';
import { BlockDriver } from './block-driver.ts';

/**
 * A disk with a driver, ready for requests.
 * @param disk closed with the driver, by `close` or when the test ends
 * @param queueCount each queue has its own worker
 */
export async function attachDisk(
  context: TestContext,
  disk: DiskBackend,
  engine: DiskEngine = 'threads',
  queueCount = 1,
): Promise<{ readonly driver: BlockDriver; readonly close: () => Promise<void> }> {
  const driver = new BlockDriver({ backend: disk, engine, queueCount, workerCount: queueCount });
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    await driver.close();
    disk.close();
  };
  context.after(close);
  await driver.start();
  return { driver, close };
}
