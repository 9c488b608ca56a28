/**
 * Loads images from archives: OCI image layouts (image-spec, "Image Layout") and archives of old and
 * new versions of `docker save`.
 */
import { TsvmError } from '../../errors.ts';
import { type Digest, digestBytes, digestHex } from '../digest.ts';
import { CONFIG_BYTES_MAX, type ImageConfig, parseImageConfig } from '../image-config.ts';
import { arrayAt, objectOf, parseJson, stringAt, stringMapAt, stringsAt } from '../json.ts';
import {
  type IngestedLayer,
  ingestLayer,
  LAYER_LIMITS,
  type LayerLimits,
} from '../layer/ingest.ts';
import {
  type Descriptor,
  type Index,
  MANIFEST_BYTES_MAX,
  type Manifest,
  OCI_CONFIG,
  OCI_LAYER,
  OCI_MANIFEST,
  parseManifest,
} from '../manifest.ts';
import { hostPlatform, type Platform, platformText, samePlatform } from '../platform.ts';
import { ensureRootfs } from '../pull.ts';
import { parseReference, type Reference, referenceText, withDefaultTag } from '../reference.ts';
import type { ImageStore } from '../store/image-store.ts';
import type { ArchiveSource } from './archive-source.ts';
import { blobName } from './layout.ts';

export interface LoadedImage {
  readonly id: Digest;
  /** Names of the image; empty if the archive has none. */
  readonly references: readonly Reference[];
}

export interface LoadOptions {
  readonly platform?: Platform | undefined;
  readonly limits?: LayerLimits;
  readonly signal?: AbortSignal | undefined;
}

const IMAGES_MAX = 10_000;
const INDEX_DEPTH_MAX = 4;
const MEDIA_SUFFIX: Readonly<Record<IngestedLayer['compression'], string>> = {
  none: '',
  gzip: '+gzip',
  zstd: '+zstd',
};

/**
 * The store's content must be in use: see `ImageStore.withContent`.
 * @throws TsvmError `invalid-image`, `store-failed`
 */
export async function loadImages(
  source: ArchiveSource,
  store: ImageStore,
  options: LoadOptions = {},
): Promise<LoadedImage[]> {
  const loader = new Loader(source, store, options);
  if (source.sizeBytes('index.json') !== undefined) return await loader.loadLayout();
  if (source.sizeBytes('manifest.json') !== undefined) return await loader.loadDockerArchive();
  throw new TsvmError(
    'invalid-image',
    'this is not an image archive: it has neither an index.json nor a manifest.json',
  );
}

/** Of Docker's manifest.json. */
interface DockerEntry {
  readonly configName: string;
  readonly layerNames: readonly string[];
  readonly references: Reference[];
}

class Loader {
  readonly #source: ArchiveSource;
  readonly #store: ImageStore;
  readonly #limits: LayerLimits;
  readonly #platform: Platform;
  readonly #signal: AbortSignal | undefined;

  constructor(source: ArchiveSource, store: ImageStore, { platform, limits, signal }: LoadOptions) {
    this.#source = source;
    this.#store = store;
    this.#limits = limits ?? LAYER_LIMITS;
    this.#platform = platform ?? hostPlatform();
    this.#signal = signal;
  }

  async loadLayout(): Promise<LoadedImage[]> {
    const bytes = this.#source.read('index.json', MANIFEST_BYTES_MAX);
    const index = parseManifest(bytes);
    if (index.kind !== 'index') throw new TsvmError('invalid-image', 'index.json is not an index');
    const tags = this.#dockerTags();
    const images: LoadedImage[] = [];
    for (const entry of index.entries) {
      const chosen = await this.#choose(entry, 0);
      if (chosen === undefined) continue;
      const { manifest, digest } = chosen;
      const config = await this.#config(manifest);
      await this.#layers(manifest, config);
      const known = tags.get(manifest.config.digest) ?? [];
      const named = annotatedNames(entry.annotations);
      images.push(await this.#add(digest, manifest.config.digest, config, [...named, ...known]));
    }
    if (images.length > 0) return merged(images);
    throw new TsvmError(
      'image-not-found',
      `the archive has no image for ${platformText(this.#platform)}`,
    );
  }

  /**
   * The names in Docker's manifest.json, by configuration digest. A layout needs none: one that is damaged or
   * another archive's, as some tools leave it, has no names for its images.
   */
  #dockerTags(): Map<Digest, Reference[]> {
    const tags = new Map<Digest, Reference[]>();
    if (this.#source.sizeBytes('manifest.json') === undefined) return tags;
    let entries: readonly DockerEntry[];
    try {
      entries = this.#dockerEntries();
    } catch (error) {
      if (error instanceof TsvmError) return tags;
      throw error;
    }
    for (const { configName, references } of entries) {
      const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(configName)?.[1];
      if (hex !== undefined) tags.set(`sha256:${hex}` as Digest, references);
    }
    return tags;
  }

  /** The manifest for the wanted platform; undefined when there is none. */
  async #choose(
    descriptor: Descriptor,
    depth: number,
  ): Promise<{ manifest: Manifest; digest: Digest } | undefined> {
    if (depth > INDEX_DEPTH_MAX) {
      throw new TsvmError('invalid-image', 'the index nests indexes too deeply');
    }
    if (this.#source.sizeBytes(blobName(descriptor.digest)) === undefined) return undefined;
    const bytes = this.#blob(descriptor, MANIFEST_BYTES_MAX);
    const parsed = parseManifest(bytes, descriptor.mediaType);
    if (parsed.kind === 'manifest') {
      await this.#addChecked(bytes, descriptor.digest);
      return { manifest: parsed, digest: descriptor.digest };
    }
    for (const entry of this.#suitable(parsed)) {
      const chosen = await this.#choose(entry, depth + 1);
      if (chosen !== undefined) return chosen;
    }
    return undefined;
  }

  #suitable({ entries }: Index): readonly (Descriptor & { platform: Platform | undefined })[] {
    return entries.filter(
      ({ platform, annotations }) =>
        !('vnd.docker.reference.type' in annotations) &&
        (platform === undefined || samePlatform(platform, this.#platform)),
    );
  }

  #blob(descriptor: Descriptor, bytesMax: number): Buffer {
    const bytes = this.#source.read(blobName(descriptor.digest), bytesMax);
    if (bytes.length === descriptor.size) return bytes;
    throw new TsvmError(
      'invalid-image',
      `${descriptor.digest} has ${bytes.length} bytes, but its descriptor says ${descriptor.size}`,
    );
  }

  async #config({ config: descriptor, layers }: Manifest): Promise<ImageConfig> {
    const bytes = this.#blob(descriptor, CONFIG_BYTES_MAX);
    const config = parseImageConfig(bytes);
    checkCount(config, layers.length);
    await this.#addChecked(bytes, descriptor.digest);
    return config;
  }

  async #addChecked(bytes: Uint8Array, expected: Digest): Promise<void> {
    const digest = digestBytes(bytes, expected);
    if (digest === expected) {
      await this.#store.content.addBlob(bytes, expected);
      return;
    }
    throw new TsvmError(
      'invalid-image',
      `a file in the archive does not match its name: its digest is ${digest}, not ${expected}`,
    );
  }

  async #layers(manifest: Manifest, { diffIds }: ImageConfig): Promise<void> {
    const { content, folders } = this.#store;
    for (const [index, blob] of manifest.layers.entries()) {
      const diffId = diffIds[index];
      if (diffId === undefined) continue;
      if (content.hasBlob(blob.digest) && content.hasLayer(diffId)) continue;
      const bytes = this.#source.stream(blobName(blob.digest));
      const name = `layer ${digestHex(blob.digest).slice(0, 12)}`;
      await ingestLayer({ bytes, blob, diffId, name, signal: this.#signal }, folders, this.#limits);
    }
  }

  async #add(
    manifest: Digest,
    id: Digest,
    config: ImageConfig,
    references: readonly Reference[],
  ): Promise<LoadedImage> {
    const layers = await ensureRootfs(this.#store, config.diffIds);
    const { createdMs } = config;
    const platform = platformText(config.platform);
    await this.#store.add({ id, manifest, createdMs, layers, platform }, references);
    return { id, references };
  }

  async loadDockerArchive(): Promise<LoadedImage[]> {
    const images: LoadedImage[] = [];
    for (const { configName, layerNames, references } of this.#dockerEntries()) {
      const configBytes = this.#source.read(configName, CONFIG_BYTES_MAX);
      const config = parseImageConfig(configBytes);
      checkCount(config, layerNames.length);
      const id = await this.#store.content.addBlob(configBytes);
      const layers: object[] = [];
      for (const [index, name] of layerNames.entries()) {
        const { blob, blobBytes, compression } = await this.#dockerLayer(name, config, index);
        const mediaType = OCI_LAYER + MEDIA_SUFFIX[compression];
        layers.push({ mediaType, digest: blob, size: blobBytes });
      }
      const manifest = {
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: id, size: configBytes.length },
        layers,
      };
      const digest = await this.#store.content.addBlob(Buffer.from(JSON.stringify(manifest)));
      images.push(await this.#add(digest, id, config, references));
    }
    return merged(images);
  }

  async #dockerLayer(
    fileName: string,
    { diffIds }: ImageConfig,
    index: number,
  ): Promise<IngestedLayer> {
    const { content, folders } = this.#store;
    const diffId = diffIds[index];
    const sizeBytes = this.#source.sizeBytes(fileName);
    if (diffId !== undefined && content.hasLayer(diffId)) {
      // A plain layer, which is its own blob, that is here already.
      const known = content.blobBytes(diffId);
      if (known !== undefined && known === sizeBytes) {
        return { blob: diffId, blobBytes: known, diffId, compression: 'none' };
      }
    }
    const bytes = this.#source.stream(fileName);
    const name = `layer ${index + 1}`;
    const layer = { bytes, blob: undefined, diffId, name, signal: this.#signal };
    return await ingestLayer(layer, folders, this.#limits);
  }

  #dockerEntries(): DockerEntry[] {
    const what = 'manifest.json';
    const list = parseJson(this.#source.read(what, MANIFEST_BYTES_MAX), what);
    return arrayAt({ list }, 'list', IMAGES_MAX, what).map((entry) => {
      const object = objectOf(entry, what);
      const configName = stringAt(object, 'Config');
      if (configName === undefined) {
        throw new TsvmError('invalid-image', 'manifest.json names no configuration');
      }
      const tags = stringsAt(object, 'RepoTags') ?? [];
      return {
        configName,
        layerNames: stringsAt(object, 'Layers') ?? [],
        references: tags.map((tag) => withDefaultTag(parseReference(tag))),
      };
    });
  }
}

function checkCount({ diffIds }: ImageConfig, layers: number): void {
  if (diffIds.length === layers) return;
  throw new TsvmError(
    'invalid-image',
    `an image's configuration has ${diffIds.length} layers, its manifest ${layers}`,
  );
}

/** The annotations of containerd and Docker. A bare tag, as written by skopeo, is not a name. */
function annotatedNames(annotations: object): Reference[] {
  const texts = stringMapAt({ annotations }, 'annotations') ?? {};
  const name = texts['io.containerd.image.name'] ?? texts['org.opencontainers.image.ref.name'];
  if (name === undefined || !/[:/]/.test(name)) return [];
  try {
    const reference = parseReference(name);
    return reference.digest === undefined ? [withDefaultTag(reference)] : [];
  } catch {
    return [];
  }
}

/** One line an image and name, though it is in the index once a name. */
function merged(images: readonly LoadedImage[]): LoadedImage[] {
  const byId = new Map<Digest, Map<string, Reference>>();
  for (const { id, references } of images) {
    const own = byId.get(id) ?? new Map<string, Reference>();
    for (const reference of references) own.set(referenceText(reference), reference);
    byId.set(id, own);
  }
  return [...byId].map(([id, names]) => ({ id, references: [...names.values()] }));
}
