/** Removes names of images, and images without names, like `docker rmi`. */
import { TsvmError } from '../errors.ts';
import { sha256 } from '../host/sha256.ts';
import { type Digest, digestHex } from './digest.ts';
import {
  familiarText,
  parseReference,
  type Reference,
  referenceText,
  repositoryName,
} from './reference.ts';
import type { ImageRecord } from './store/catalog.ts';
import type { ImageStore } from './store/image-store.ts';

export interface Removal {
  /** Names, as people write them. */
  readonly untagged: readonly string[];
  /** The image's ID, then the chain IDs of its layers that no other image has, the topmost first. */
  readonly deleted: readonly string[];
}

const SHORT_DIGITS = 12;

/**
 * @param text a name, an ID or the beginning of one
 * @param force removes an image by its ID though several repositories have it
 * @throws TsvmError `image-not-found`, `image-conflict`, `invalid-reference`
 */
export async function removeImage(
  store: ImageStore,
  text: string,
  force: boolean,
): Promise<Removal> {
  const removal = await store.catalog.update((images) => {
    const { image, reference } = store.find(text, images);
    const gone = new Set(
      reference === undefined ? allNames(image, force) : namesOf(image, reference),
    );
    const isLast = image.tags.length + image.digests.length <= gone.size;
    if (isLast) assertUnused(store, image, reference, force);
    const left: ImageRecord = {
      ...image,
      tags: image.tags.filter((name) => !gone.has(name)),
      digests: image.digests.filter((name) => !gone.has(name)),
    };
    const others = images.filter((one) => one !== image);
    const stays = left.tags.length + left.digests.length > 0;
    const untagged = [...gone].map((name) => familiarText(parseReference(name)));
    return {
      images: stays ? [...others, left] : others,
      result: { untagged, deleted: stays ? [] : [image.id, ...ownLayers(image, others)] },
    };
  });
  if (removal.deleted.length > 0) store.removeUnneeded();
  return removal;
}

/** Docker's refusals to remove an image that containers are made of. */
function assertUnused(
  store: ImageStore,
  { id }: ImageRecord,
  reference: Reference | undefined,
  force: boolean,
): void {
  const uses = store.uses().filter(({ imageId }) => imageId === id);
  const running = uses.find(({ isRunning }) => isRunning);
  const use = running ?? (force ? undefined : uses[0]);
  if (use === undefined) return;
  const container = use.containerId.slice(0, SHORT_DIGITS);
  const image = digestHex(id).slice(0, SHORT_DIGITS);
  if (reference !== undefined && running === undefined) {
    throw new TsvmError(
      'image-conflict',
      `conflict: unable to remove repository reference "${familiarText(reference)}" (must force) - ` +
        `container ${container} is using its referenced image ${image}`,
    );
  }
  const advice = running === undefined ? 'must be forced' : 'cannot be forced';
  const state = running === undefined ? 'stopped' : 'running';
  throw new TsvmError(
    'image-conflict',
    `conflict: unable to delete ${image} (${advice}) - image is being used by ${state} container ${container}`,
  );
}

function allNames({ id, tags, digests }: ImageRecord, force: boolean): string[] {
  const repositories = new Set(tags.map((tag) => repositoryName(parseReference(tag))));
  if (repositories.size > 1 && !force) {
    throw new TsvmError(
      'image-conflict',
      `conflict: unable to delete ${digestHex(id).slice(0, SHORT_DIGITS)} (must be forced) - ` +
        'image is referenced in multiple repositories',
    );
  }
  return [...tags, ...digests];
}

/** With a repository's last tag go its digests. */
function namesOf(image: ImageRecord, reference: Reference): string[] {
  const repository = repositoryName(reference);
  const isHere = (name: string) => repositoryName(parseReference(name)) === repository;
  const digests = image.digests.filter(isHere);
  if (reference.digest !== undefined) {
    const name = referenceText({ ...reference, tag: undefined });
    return image.digests.includes(name) ? [name] : digests;
  }
  const tag = referenceText(reference);
  const isLast = image.tags.filter(isHere).length === 1;
  return isLast ? [tag, ...digests] : [tag];
}

/** OCI image-spec, "Layer ChainID". */
export function chainIds(diffIds: readonly Digest[]): string[] {
  let chain = '';
  return diffIds.map((diffId) => {
    const text = `${chain} ${diffId}`;
    chain = chain === '' ? diffId : `sha256:${sha256(text).toString('hex')}`;
    return chain;
  });
}

function ownLayers({ layers }: ImageRecord, others: readonly ImageRecord[]): string[] {
  const used = new Set(
    others.flatMap((image) => chainIds(image.layers.map(({ diffId }) => diffId))),
  );
  const own = chainIds(layers.map(({ diffId }) => diffId));
  return own.filter((chain) => !used.has(chain)).reverse();
}

/** Removes images with all their names, and content that no image needs. */
export async function pruneImages(
  store: ImageStore,
  chosen: readonly ImageRecord[],
): Promise<Removal & { readonly bytes: number }> {
  const ids = new Set(chosen.map(({ id }) => id));
  const removal = await store.catalog.update((images) => {
    const gone = images.filter(({ id }) => ids.has(id));
    const left = images.filter(({ id }) => !ids.has(id));
    const names = gone.flatMap(({ tags, digests }) => [...tags, ...digests]);
    const layers = gone.flatMap((image) => ownLayers(image, left));
    const untagged = names.map((name) => familiarText(parseReference(name)));
    const deleted = [...gone.map(({ id }) => id), ...new Set(layers)];
    return { images: left, result: { untagged, deleted } };
  });
  return { ...removal, bytes: store.removeUnneeded().bytes };
}
