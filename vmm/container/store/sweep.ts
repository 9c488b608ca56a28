/**
 * Removes content that no image needs, by mark and sweep from the catalog, without reference counts
 * that could be wrong. The caller owns the content.
 */
import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { hasCode } from '../../util/error-code.ts';
import { type Digest, parseDigest } from '../digest.ts';
import { rootfsKey } from '../rootfs/rootfs-key.ts';
import type { ImageRecord } from './catalog.ts';
import type { StoreContent } from './content.ts';
import type { StoreFolders } from './folders.ts';

/** What was removed. */
export interface Swept {
  /** DiffIDs of the layers. */
  readonly layers: readonly Digest[];
  /** Bytes on the host's disk that were given back. */
  readonly bytes: number;
}

export interface Needed {
  readonly blobs: ReadonlySet<string>;
  readonly layers: ReadonlySet<string>;
  readonly rootfs: ReadonlySet<string>;
}

/** All content that these images need, and containers' root file systems of these layers. */
export function neededBy(
  images: readonly ImageRecord[],
  content: StoreContent,
  containers: readonly (readonly Digest[])[] = [],
): Needed {
  const blobs = new Set<string>();
  for (const image of images) {
    blobs.add(image.id);
    blobs.add(image.manifest);
    for (const reference of image.digests) {
      const digest = parseDigest(reference.slice(reference.indexOf('@') + 1));
      if (digest !== undefined) addManifest(digest, content, blobs);
    }
    addManifest(image.manifest, content, blobs);
  }
  const roots = [...images.map(({ layers }) => layers.map(({ diffId }) => diffId)), ...containers];
  return { blobs, layers: new Set(roots.flat()), rootfs: new Set(roots.map(rootfsKey)) };
}

/** Only the manifests that images use are stored, so an index's entries are not followed. */
function addManifest(digest: Digest, content: StoreContent, blobs: Set<string>): void {
  blobs.add(digest);
  if (!content.hasBlob(digest)) return;
  try {
    const manifest = content.readManifestOrIndex(digest);
    if (manifest.kind === 'index') return;
    for (const { digest: part } of [manifest.config, ...manifest.layers]) blobs.add(part);
  } catch (error) {
    // A damaged one refers to nothing.
    if (!(error instanceof TsvmError)) throw error;
  }
}

export function sweep(folders: StoreFolders, needed: Needed): Swept {
  const layers: Digest[] = [];
  let bytes = 0;
  const remove = (path: string): void => {
    const stats = statSync(path, { throwIfNoEntry: false });
    // A plain layer has two names, and takes its space once.
    if (stats?.nlink === 1) bytes += stats.blocks * 512;
    rmSync(path, { force: true });
  };
  for (const { digest, path } of contentFiles(folders.blobs)) {
    if (!needed.blobs.has(digest)) remove(path);
  }
  for (const { digest, path } of contentFiles(folders.layers)) {
    if (needed.layers.has(digest)) continue;
    remove(path);
    const diffId = parseDigest(digest);
    if (diffId !== undefined) layers.push(diffId);
  }
  for (const name of namesIn(folders.rootfs)) {
    if (!needed.rootfs.has(name.replace(/\.erofs$/, ''))) remove(join(folders.rootfs, name));
  }
  return { layers, bytes };
}

/**
 * Nobody writes while content and catalog are locked exclusively, so partial files are from a crash.
 */
export function sweepTemporary(folders: StoreFolders): void {
  for (const name of namesIn(folders.temporary)) {
    rmSync(join(folders.temporary, name), { recursive: true, force: true });
  }
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

export function* contentFiles(folder: string): Generator<{ digest: string; path: string }> {
  for (const algorithm of namesIn(folder)) {
    for (const hex of namesIn(join(folder, algorithm))) {
      yield { digest: `${algorithm}:${hex}`, path: join(folder, algorithm, hex) };
    }
  }
}

/** True if there are leftovers of a crash. */
export function hasLeftovers(folders: StoreFolders): boolean {
  return namesIn(folders.temporary).length > 0;
}
