/** Judges a closed image by QEMU. */
import { copyFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { closeImage, openImage } from '../../vmm/backends/disk/image/open-image.ts';
import { checkImage } from '../../vmm/backends/disk/image/qcow2/check/check.ts';
import type { CheckResult } from '../../vmm/backends/disk/image/qcow2/check/check-report.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { type QemuCheck, qemuCheck, qemuImgOutputIn, qemuMap } from '../support/qemu-img.ts';
import type { DiskModel } from './disk-model.ts';
import { expectSameMap } from './map-agreement.ts';
import { Mismatch } from './mismatch.ts';

/** Opens an image with its chain, as a user who trusts it does. */
export function openWithChain(
  path: string,
  options: { readonly readOnly: boolean; readonly cacheBytes?: number | undefined },
): DiskImage {
  const { readOnly, cacheBytes } = options;
  return openImage(path, {
    format: 'qcow2',
    readOnly,
    hostFiles: hostFiles(),
    backing: 'allow',
    ...(cacheBytes === undefined ? {} : { cacheBytes }),
  });
}

/** Asserts that neither engine's check finds errors, and that their counts agree. */
export async function expectSound(path: string): Promise<void> {
  const theirs = await qemuCheck(path);
  if (theirs.corruptions + theirs.leaks + theirs.checkErrors > 0) {
    throw new Mismatch(`qemu-img check ${path}: ${theirs.text}`);
  }
  const image = openWithChain(path, { readOnly: true });
  const ours = checkImage(image.file);
  closeImage(image);
  expectSameFigures(ours, theirs, path);
}

const FIGURES = [
  'corruptions',
  'leaks',
  'checkErrors',
  'allocatedClusters',
  'compressedClusters',
  'fragmentedClusters',
  'imageEndOffset',
] as const;

export function expectSameFigures(ours: CheckResult, theirs: QemuCheck, what: string): void {
  for (const figure of FIGURES) {
    if (ours[figure] === theirs[figure]) continue;
    throw new Mismatch(
      `${what}: checkImage says ${figure} ${ours[figure]}, qemu-img ${theirs[figure]}; ` +
        `${ours.problems.slice(0, 3).join('; ')}\n${theirs.text}`,
    );
  }
}

/** Asserts that QEMU reads the model's content. */
export async function expectModelIn(
  path: string,
  model: DiskModel,
  folder: string,
  format: 'raw' | 'qcow2' = 'qcow2',
): Promise<void> {
  const raw = join(folder, 'model.raw');
  model.save(raw);
  await qemuImgOutputIn(dirname(path), 'compare', '-f', 'raw', '-F', format, raw, path);
}

export async function expectMapAgrees(path: string): Promise<void> {
  const map = await qemuMap(path);
  const image = openWithChain(path, { readOnly: true });
  try {
    expectSameMap(image, map);
  } finally {
    closeImage(image);
  }
}

/** Compares sizes and snapshots as QEMU reports them, since `compare` ignores trailing zeroes. */
export async function expectInfo(path: string, model: DiskModel): Promise<void> {
  const json = await qemuImgOutputIn(dirname(path), 'info', '--output=json', path);
  const info = JSON.parse(json) as {
    readonly 'virtual-size': number;
    readonly snapshots?: readonly { readonly name: string }[];
  };
  const found = [info['virtual-size'], ...(info.snapshots ?? []).map(({ name }) => name)].join();
  const expected = [model.sizeBytes, ...model.snapshotNames].join();
  if (found !== expected) {
    throw new Mismatch(`size and snapshots of ${path} are ${found}, should be ${expected}`);
  }
}

/** Asserts that QEMU restores a snapshot with the model's content. */
export async function expectSnapshotContent(
  path: string,
  name: string,
  model: DiskModel,
  folder: string,
): Promise<void> {
  // In the same folder, where its backing file's name refers to the same file.
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  await qemuImgOutputIn(dirname(copy), 'snapshot', '-a', name, copy);
  await expectModelIn(copy, model.snapshotDisk(name), folder);
  rmSync(copy);
}
