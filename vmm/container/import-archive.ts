/** Makes an image of one layer from a tar archive of a root file system. */
import { unpacked } from './archive/unpack.ts';
import { type Digest, digestBytes } from './digest.ts';
import { ingestLayer } from './layer/ingest.ts';
import { OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from './manifest.ts';
import { hostPlatform, type Platform, platformText } from './platform.ts';
import { ensureRootfs } from './pull.ts';
import type { Reference } from './reference.ts';
import type { ImageStore } from './store/image-store.ts';

export interface ImportOptions {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** How its containers are to be run: the `config` of OCI's image configuration. */
  readonly run: object;
  readonly comment: string;
  readonly platform: Platform | undefined;
  readonly reference: Reference | undefined;
  readonly signal: AbortSignal;
}

/** @throws TsvmError `invalid-image`, `store-failed` */
export function importArchive(store: ImageStore, options: ImportOptions): Promise<Digest> {
  const { comment, platform = hostPlatform(), reference, run, signal } = options;
  return store.withContent(async () => {
    const bytes = unpacked(options.bytes);
    const source = { bytes, blob: undefined, diffId: undefined, name: 'the archive', signal };
    const { blob, blobBytes, compression, diffId } = await ingestLayer(source, store.folders);
    const layers = await ensureRootfs(store, [diffId]);
    const createdMs = Date.now();
    const created = new Date(createdMs).toISOString();
    const { architecture, os, variant } = platform;
    const config = Buffer.from(
      JSON.stringify({
        architecture,
        os,
        ...(variant !== undefined && { variant }),
        created,
        config: run,
        rootfs: { type: 'layers', diff_ids: [diffId] },
        history: [{ created, comment }],
      }),
    );
    const id = await store.content.addBlob(config);
    const suffix = compression === 'none' ? '' : `+${compression}`;
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: id, size: config.length },
        layers: [{ mediaType: OCI_LAYER + suffix, digest: blob, size: blobBytes }],
      }),
    );
    await store.content.addBlob(manifest);
    await store.add(
      { id, manifest: digestBytes(manifest), createdMs, layers, platform: platformText(platform) },
      reference === undefined ? [] : [reference],
    );
    return id;
  }, signal);
}
