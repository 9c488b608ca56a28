/**
 * Generated images: what the kernel sees of our root file system against what umoci unpacks.
 *
 * ```
 * node test/container/umoci-trees.ts 5000 [first seed]
 * ```
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeImage, writeLayout } from '../support/image-maker.ts';
import { wholeDisk, withMounted, writeLayers, writeMetadata } from '../support/mounted-rootfs.ts';
import { compareTrees, readTree } from '../support/mounted-tree.ts';
import { Random } from '../support/random.ts';
import { generateLayers } from './layer-generator.ts';

/** Unpacks the image in a layout with umoci. @returns the root's folder */
export function umociUnpack(folder: string, layout: string): string {
  const bundle = join(folder, 'bundle');
  execFileSync('umoci', ['unpack', '--image', `${layout}:latest`, bundle], { stdio: 'pipe' });
  return join(bundle, 'rootfs');
}

/** @returns what differs */
export function checkSeed(seed: number): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-umoci-'));
  try {
    const layers = generateLayers(new Random(seed));
    const layout = join(folder, 'layout');
    mkdirSync(layout);
    writeLayout(layout, makeImage({ layers, packing: 'none' }));
    const expected = readTree(umociUnpack(folder, layout));
    const paths = writeLayers(folder, layers);
    const disk = wholeDisk(folder, paths);
    const actual = withMounted(folder, disk, readTree);
    execFileSync('fsck.erofs', [writeMetadata(folder, paths, 'copied')], { stdio: 'pipe' });
    return compareTrees(actual, expected);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [, , count = '200', first = '1'] = process.argv;
  for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
    const differences = checkSeed(seed);
    if (differences.length === 0) continue;
    process.stdout.write(`seed ${seed}:\n${differences.slice(0, 10).join('\n')}\n`);
    process.exitCode = 1;
    break;
  }
}
