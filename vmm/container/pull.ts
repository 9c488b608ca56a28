/** Pulls an image from a registry and prepares it for booting. */
import { existsSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { type Digest, digestBytes } from './digest.ts';
import { CONFIG_BYTES_MAX, type ImageConfig, parseImageConfig } from './image-config.ts';
import { ingestLayer, LAYER_LIMITS, type LayerLimits } from './layer/ingest.ts';
import { type Descriptor, type Manifest, parseManifest } from './manifest.ts';
import { hostPlatform, type Platform, platformText, samePlatform } from './platform.ts';
import type { Reference } from './reference.ts';
import type { RegistryClient } from './registry/registry-client.ts';
import { buildRootfs } from './rootfs/build-rootfs.ts';
import { rootfsKey } from './rootfs/rootfs-key.ts';
import type { LayerRecord } from './store/catalog.ts';
import { hasName, type ImageStore } from './store/image-store.ts';

/** Progress of a layer. */
export type LayerStep =
  | { readonly step: 'waiting' | 'present' | 'downloaded' | 'complete' }
  | { readonly step: 'downloading'; readonly bytes: number; readonly totalBytes: number };

export interface PullProgress {
  /** The layers are known; called once, before `layer`. */
  layers(digests: readonly Digest[]): void;
  layer(digest: Digest, step: LayerStep): void;
}

export interface PullOptions {
  readonly platform?: Platform | undefined;
  readonly limits?: LayerLimits;
  readonly progress?: PullProgress;
  readonly signal?: AbortSignal | undefined;
}

export interface PulledImage {
  /** The digest that the name refers to: of a manifest, or of the index that it was chosen from. */
  readonly digest: Digest;
  readonly id: Digest;
  /** The store had this image by this name before. */
  readonly upToDate: boolean;
}

/** Docker's default. */
const LAYERS_AT_A_TIME = 3;
/** An index may refer to other indexes. */
const INDEX_DEPTH_MAX = 4;
const NO_PROGRESS: PullProgress = { layers: () => {}, layer: () => {} };

/**
 * @param reference with a tag or a digest
 * @throws TsvmError `image-not-found`, `invalid-image`, `registry-denied`, `registry-failed`,
 * `store-failed`
 */
export function pullImage(
  store: ImageStore,
  client: RegistryClient,
  reference: Reference,
  options: PullOptions = {},
): Promise<PulledImage> {
  return store.withContent(async () => {
    const fetched = await fetchManifest(store, client, reference, options);
    const { manifest, manifestDigest, topDigest } = fetched;
    const config = await fetchConfig(store, client, reference, manifest, options.signal);
    await fetchLayers(store, client, reference, manifest, config, options);
    const layers = await ensureRootfs(store, config.diffIds);
    const id = manifest.config.digest;
    const named: Reference = { ...reference, digest: topDigest };
    const tagged: Reference = { ...reference, digest: undefined };
    const names = reference.digest === undefined ? [tagged, named] : [named];
    const own = store.catalog.read().find((image) => image.id === id);
    const upToDate = names.every((name) => own !== undefined && hasName(own, name));
    await store.add(
      {
        id,
        manifest: manifestDigest,
        createdMs: config.createdMs,
        layers,
        platform: platformText(config.platform),
      },
      names,
    );
    return { digest: topDigest, id, upToDate };
  }, options.signal);
}

interface ChosenManifest {
  readonly manifest: Manifest;
  readonly manifestDigest: Digest;
  readonly topDigest: Digest;
}

async function fetchManifest(
  store: ImageStore,
  client: RegistryClient,
  { path, tag, digest }: Reference,
  { platform, signal }: PullOptions,
): Promise<ChosenManifest> {
  const wanted = platform ?? hostPlatform();
  let next: string = digest ?? tag ?? '';
  let topDigest: Digest | undefined;
  for (let depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
    const fetched = await client.manifest(path, next, signal);
    topDigest ??= fetched.digest;
    const parsed = parseManifest(fetched.bytes, fetched.mediaType);
    await store.content.addBlob(fetched.bytes, fetched.digest);
    if (parsed.kind === 'manifest') {
      return { manifest: parsed, manifestDigest: fetched.digest, topDigest };
    }
    const entry = parsed.entries.find(
      (one) =>
        one.platform !== undefined &&
        samePlatform(one.platform, wanted) &&
        !('vnd.docker.reference.type' in one.annotations),
    );
    if (entry === undefined) {
      throw new TsvmError(
        'image-not-found',
        `no matching manifest for ${platformText(wanted)} in the manifest list entries`,
      );
    }
    next = entry.digest;
  }
  throw new TsvmError('invalid-image', 'the image index nests indexes too deeply');
}

/** Reads a small blob that a manifest names. */
async function fetchConfig(
  store: ImageStore,
  client: RegistryClient,
  { path }: Reference,
  { config: descriptor, layers }: Manifest,
  signal: AbortSignal | undefined,
): Promise<ImageConfig> {
  const { content } = store;
  const bytes = content.hasBlob(descriptor.digest)
    ? content.readBlob(descriptor.digest)
    : await smallBlob(client, path, descriptor, signal);
  const config = parseImageConfig(bytes);
  if (config.diffIds.length !== layers.length) {
    throw new TsvmError(
      'invalid-image',
      `the image's configuration has ${config.diffIds.length} layers, its manifest ${layers.length}`,
    );
  }
  await content.addBlob(bytes, descriptor.digest);
  return config;
}

async function smallBlob(
  client: RegistryClient,
  repository: string,
  descriptor: Descriptor,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  if (descriptor.size > CONFIG_BYTES_MAX) {
    throw new TsvmError('invalid-image', 'the image configuration is too large');
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of client.blob(repository, descriptor, signal)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > descriptor.size) break;
  }
  const all = Buffer.concat(chunks);
  if (all.length === descriptor.size && digestBytes(all, descriptor.digest) === descriptor.digest) {
    return all;
  }
  throw new TsvmError(
    'invalid-image',
    'the image configuration does not match its digest and size',
  );
}

async function fetchLayers(
  store: ImageStore,
  client: RegistryClient,
  { path }: Reference,
  manifest: Manifest,
  { diffIds }: ImageConfig,
  { limits = LAYER_LIMITS, progress = NO_PROGRESS, signal }: PullOptions,
): Promise<void> {
  const jobs = new Map<Digest, { readonly blob: Descriptor; readonly diffId: Digest }>();
  manifest.layers.forEach((blob, index) => {
    const diffId = diffIds[index];
    if (diffId !== undefined && !jobs.has(blob.digest)) jobs.set(blob.digest, { blob, diffId });
  });
  progress.layers([...jobs.keys()]);
  const failing = new AbortController();
  const any = signal === undefined ? failing.signal : AbortSignal.any([signal, failing.signal]);
  const todo = [...jobs.values()];
  const worker = async (): Promise<void> => {
    for (let job = todo.shift(); job !== undefined; job = todo.shift()) {
      const { blob, diffId } = job;
      const report = (step: LayerStep) => progress.layer(blob.digest, step);
      await fetchLayer(store, client, path, blob, diffId, { limits, report, signal: any });
    }
  };
  const workers = Array.from({ length: LAYERS_AT_A_TIME }, () =>
    worker().catch((error: unknown) => {
      // A failed layer aborts the others; ignore their errors.
      failing.abort(error);
      throw error;
    }),
  );
  const outcomes = await Promise.allSettled(workers);
  if (failing.signal.aborted) throw failing.signal.reason;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

interface FetchLayerOptions {
  readonly limits: LayerLimits;
  readonly report: (step: LayerStep) => void;
  readonly signal: AbortSignal;
}

/** Fetches a layer, unless this or another process is already fetching it: then waits for that. */
async function fetchLayer(
  { content, folders, locks }: ImageStore,
  client: RegistryClient,
  repository: string,
  blob: Descriptor,
  diffId: Digest,
  { limits, report, signal }: FetchLayerOptions,
): Promise<void> {
  const isPresent = () => content.hasBlob(blob.digest) && content.hasLayer(diffId);
  if (isPresent()) {
    report({ step: 'present' });
    return;
  }
  let lock = locks.tryOwnPiece(diffId);
  if (lock === undefined) {
    report({ step: 'waiting' });
    lock = await locks.ownPiece(diffId, signal);
  }
  try {
    if (isPresent()) {
      report({ step: 'complete' });
      return;
    }
    const totalBytes = blob.size;
    report({ step: 'downloading', bytes: 0, totalBytes });
    const name = `layer ${blob.digest.slice(7, 19)}`;
    const bytes = client.blob(repository, blob, signal);
    await ingestLayer({ bytes, blob, diffId, name }, folders, limits, (done) => {
      report({ step: 'downloading', bytes: done, totalBytes });
      if (done === totalBytes) report({ step: 'downloaded' });
    });
    report({ step: 'complete' });
  } finally {
    lock.release();
  }
}

/** The layers as the catalog has them; their root file system is there afterwards. */
export async function ensureRootfs(
  { catalog, folders }: ImageStore,
  diffIds: readonly Digest[],
): Promise<readonly LayerRecord[]> {
  const key = rootfsKey(diffIds);
  if (existsSync(folders.metadataImage(key))) {
    const known = catalog
      .read()
      .find(({ layers }) => rootfsKey(layers.map(({ diffId }) => diffId)) === key);
    if (known !== undefined) return known.layers;
  }
  return await buildRootfs(diffIds, folders);
}
