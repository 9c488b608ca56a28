import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

/** Blocks of the kind that a hypervisor takes back, more than any program here uses. */
const BLOCK_MIB = 2;

/**
 * Ensures that this machine has memory for writing this much to files. Its hypervisor may have taken
 * back free memory, and to get it again takes longer than the measurement. Memory that a file has just
 * released is available.
 */
export async function warmMemory({ root }: Workbench, mebibytes: number): Promise<void> {
  const path = join(root, 'build', 'bench', 'warm');
  const blocks = [`bs=${BLOCK_MIB}M`, `count=${Math.ceil(mebibytes / BLOCK_MIB)}`];
  try {
    await runProcess(['dd', 'if=/dev/zero', `of=${path}`, ...blocks, 'status=none']);
  } finally {
    rmSync(path, { force: true });
  }
}
