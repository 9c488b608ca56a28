import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

/** Blocks of the kind that a host takes back, and of which no program here has enough. */
const BLOCK_MIB = 2;

/**
 * Sees to it that this machine has memory for so much that is written to files. Its own host may
 * have taken back what was free, and to get that again takes longer than what is measured; what a
 * file has just given up is there.
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
