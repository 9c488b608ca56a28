/** Several processes at one store: who may remove what. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ownStore } from '../support/own-store.ts';

test('the remains of a crash are removed at the next start, but not while somebody writes', async (t) => {
  const store = ownStore(t);
  store.folders.create();
  const temporary = join(store.folders.temporary, 'x');
  writeFileSync(temporary, 'half');
  const writer = await store.locks.shareContent();
  await store.withContent(async () => {});
  store.removeUnneeded();
  assert.ok(existsSync(temporary), 'content is being written');
  writer.release();
  const change = await store.locks.ownCatalog();
  await store.withContent(async () => {});
  store.removeUnneeded();
  assert.ok(existsSync(temporary), 'the catalog is being written');
  change.release();
  await store.withContent(async () => {});
  assert.ok(!existsSync(temporary));
});

test('content that no image names stays while its maker has it, and goes afterwards', async (t) => {
  const store = ownStore(t);
  const digest = await store.withContent(async () => {
    const added = await store.content.addBlob(Buffer.from('new'));
    store.removeUnneeded();
    assert.ok(store.content.hasBlob(added));
    return added;
  });
  store.removeUnneeded();
  assert.ok(!store.content.hasBlob(digest));
});

test('a name is not given to an image that has just been removed', async (t) => {
  const store = ownStore(t);
  await store.addName(() => undefined, {
    domain: 'docker.io',
    path: 'library/x',
    tag: '1',
    digest: undefined,
  });
  assert.deepEqual(store.catalog.read(), []);
});

test('changes of the catalog at once all count', async (t) => {
  const store = ownStore(t);
  const hex = (index: number) => index.toString(16).padStart(64, '0');
  await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      store.catalog.update((images) => ({
        images: [
          ...images,
          {
            id: `sha256:${hex(index)}` as never,
            manifest: `sha256:${hex(index)}` as never,
            tags: [],
            digests: [],
            createdMs: index,
            taggedMs: 0,
            layers: [],
            platform: 'linux/amd64',
          },
        ],
        result: undefined,
      })),
    ),
  );
  assert.equal(store.catalog.read().length, 20);
});

test('a catalog that is damaged or of a newer tsvm is an error with advice', (t) => {
  const store = ownStore(t);
  store.folders.create();
  writeFileSync(store.folders.catalog, '{');
  assert.throws(() => store.catalog.read(), { code: 'store-failed', message: /move it away/ });
  writeFileSync(store.folders.catalog, '{"version":99,"images":[]}');
  assert.throws(() => store.catalog.read(), { code: 'store-failed', message: /another version/ });
});
