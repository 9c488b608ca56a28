/** Images with given layers, as OCI image layouts in a folder. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';

export type Packing = 'none' | 'gzip' | 'zstd';

export interface MadeImage {
  /** Blobs by digest. */
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly manifest: string;
  readonly manifestBytes: Buffer;
  readonly mediaType: string;
  readonly config: string;
  readonly layers: readonly { readonly digest: string; readonly diffId: string }[];
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

const PACK: Readonly<Record<Packing, (bytes: Uint8Array) => Buffer>> = {
  none: (bytes) => Buffer.from(bytes),
  gzip: (bytes) => gzipSync(bytes, { level: 1 }),
  zstd: (bytes) => zstdCompressSync(bytes),
};
const OCI_SUFFIX = { none: '', gzip: '+gzip', zstd: '+zstd' };

export interface ImageRecipe {
  /** Uncompressed tar archives, from the lowest layer up. */
  readonly layers: readonly Uint8Array[];
  readonly packing?: Packing;
  /** Docker's media types instead of OCI's. */
  readonly docker?: boolean;
  readonly architecture?: string;
  readonly run?: object;
  readonly history?: readonly object[];
  readonly created?: string;
}

export function makeImage(recipe: ImageRecipe): MadeImage {
  const { layers, packing = 'gzip', docker = false, architecture = 'amd64' } = recipe;
  const blobs = new Map<string, Buffer>();
  const add = (bytes: Buffer): { digest: string; size: number } => {
    const digest = sha256(bytes);
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const made = layers.map((plain) => ({ diffId: sha256(plain), blob: add(PACK[packing](plain)) }));
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      created: recipe.created ?? '2024-01-02T03:04:05Z',
      config: recipe.run ?? { Cmd: ['/bin/sh'] },
      rootfs: { type: 'layers', diff_ids: made.map(({ diffId }) => diffId) },
      history: recipe.history ?? layers.map((_, index) => ({ created_by: `step ${index}` })),
    }),
  );
  const oci = 'application/vnd.oci.image';
  const vendor = 'application/vnd.docker';
  const mediaType = docker ? `${vendor}.distribution.manifest.v2+json` : `${oci}.manifest.v1+json`;
  const layerType = docker
    ? `${vendor}.image.rootfs.diff.tar.gzip`
    : `${oci}.layer.v1.tar${OCI_SUFFIX[packing]}`;
  const configType = docker ? `${vendor}.container.image.v1+json` : `${oci}.config.v1+json`;
  const configBlob = add(config);
  const manifestBytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: configType, ...configBlob },
      layers: made.map(({ blob }) => ({ mediaType: layerType, ...blob })),
    }),
  );
  const manifest = add(manifestBytes).digest;
  return {
    blobs,
    manifest,
    manifestBytes,
    mediaType,
    config: configBlob.digest,
    layers: made.map(({ blob, diffId }) => ({ digest: blob.digest, diffId })),
  };
}

/** Writes an image layout that contains one image with the tag `tag`. */
export function writeLayout(folder: string, image: MadeImage, tag = 'latest'): void {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  for (const [digest, bytes] of image.blobs) {
    writeFileSync(join(folder, 'blobs/sha256', digest.slice(7)), bytes);
  }
  const { manifest: digest, manifestBytes, mediaType } = image;
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        mediaType,
        digest,
        size: manifestBytes.length,
        annotations: { 'org.opencontainers.image.ref.name': tag },
      },
    ],
  };
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index));
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

/** Writes an image in skopeo's `dir:` format, which supports all media types. */
export function writeSkopeoFolder(folder: string, image: MadeImage): void {
  mkdirSync(folder);
  for (const [digest, bytes] of image.blobs) writeFileSync(join(folder, digest.slice(7)), bytes);
  writeFileSync(join(folder, 'manifest.json'), image.manifestBytes);
  writeFileSync(join(folder, 'version'), 'Directory Transport Version: 1.1\n');
}
