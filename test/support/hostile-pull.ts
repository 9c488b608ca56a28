/**
 * Pulls one image from a hostile registry with short time limits, and checks what is left in the store.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { type PullOptions, pullImage } from '../../vmm/container/pull.ts';
import { parseReference } from '../../vmm/container/reference.ts';
import type { Credentials } from '../../vmm/container/registry/credentials.ts';
import { RegistryClient } from '../../vmm/container/registry/registry-client.ts';
import { NO_REGISTRY_CONFIG } from '../../vmm/container/registry/registry-config.ts';
import { type HostileRegistry, startHostileRegistry, type Tricks } from './hostile-registry.ts';
import { type MadeImage, makeImage } from './image-maker.ts';
import { ownStore, storeFaults } from './own-store.ts';
import { Random } from './random.ts';
import { makeTar } from './tar-maker.ts';

const random = new Random(1);
export const NOISE = Buffer.from(Uint8Array.from({ length: 400_000 }, () => random.below(256)));
export const IMAGE = makeImage({
  layers: [makeTar([{ name: 'a', data: NOISE }]), makeTar([{ name: 'b', data: 'b' }])],
});
export const RETRIES = { tries: 4, firstPauseMs: 1, pauseMsMax: 50 };
/** Shorter ones would pass in a test process that its host lets stand for a moment. */
export const LIMITS = { connectMs: 10_000, headersMs: 1500, idleMs: 1500 };

export interface Outcome {
  readonly error: (Error & { code?: string }) | undefined;
  readonly faults: readonly string[];
  readonly images: number;
  readonly registry: HostileRegistry;
  readonly blobs: number;
}

export async function pull(
  t: TestContext,
  tricks: Tricks,
  image: MadeImage = IMAGE,
  options: PullOptions & { tag?: string; credentials?: Credentials } = {},
): Promise<Outcome> {
  const registry = await startHostileRegistry(t, image, tricks);
  const store = ownStore(t);
  const client = new RegistryClient({
    host: registry.host,
    config: NO_REGISTRY_CONFIG,
    credentials: options.credentials,
    retries: RETRIES,
    limits: LIMITS,
  });
  let error: Outcome['error'];
  try {
    const reference = parseReference(`${registry.host}/x/y${options.tag ?? ':1'}`);
    await pullImage(store, client, reference, options);
  } catch (caught) {
    if (!(caught instanceof Error)) throw caught;
    error = caught;
  } finally {
    await client.close();
  }
  const { root } = store.folders;
  const blobs = readdirSync(`${root}/blobs/sha256`).length;
  return { error, faults: storeFaults(root), images: store.catalog.read().length, registry, blobs };
}

export function assertRefused({ error, faults, images }: Outcome, message: RegExp): void {
  assert.match(error?.message ?? 'no error', message);
  assert.deepEqual(faults, []);
  assert.equal(images, 0);
}

export function assertHealed({ error, faults, images }: Outcome): void {
  assert.equal(error, undefined, error?.stack);
  assert.deepEqual(faults, []);
  assert.equal(images, 1);
}
