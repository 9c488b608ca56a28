/** The content of an image according to QEMU. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { qemuCheck, qemuImgOutput } from './qemu-img.ts';

/** All bytes of the disk in an image. */
export async function qemuContent(path: string): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-content-'));
  try {
    const raw = join(folder, 'raw');
    await qemuImgOutput('convert', '-f', 'qcow2', '-O', 'raw', path, raw);
    return readFileSync(raw);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Asserts that `qemu-img check` finds no errors and no leaks. */
export async function assertSound(path: string): Promise<void> {
  const { corruptions, leaks, checkErrors, text } = await qemuCheck(path);
  assert.deepEqual([corruptions, leaks, checkErrors], [0, 0, 0], text);
}

/** Asserts that the image is valid and has this content. */
export async function assertHolds(path: string, content: Uint8Array): Promise<void> {
  assert.ok((await qemuContent(path)).equals(content), `QEMU finds the content of ${path}`);
  await assertSound(path);
}
