/** Registries and archives whose content does not match its digests, or has no end when it is unpacked. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { loadImages } from '../../vmm/container/archive/load.ts';
import { openArchive } from '../../vmm/container/archive/open-archive.ts';
import { assertHealed, assertRefused, IMAGE, NOISE, pull } from '../support/hostile-pull.ts';
import type { Trick } from '../support/hostile-registry.ts';
import { makeImage, sha256, writeLayout } from '../support/image-maker.ts';
import { ownStore, storeFaults } from '../support/own-store.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

test('an honest registry', async (t) => {
  assertHealed(await pull(t, {}));
});

test('a layer that does not match its digest is refused', async (t) => {
  const outcome = await pull(t, {
    layer: ({ response, bytes }) => {
      const other = Buffer.from(bytes);
      other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
      response.end(other);
      return true;
    },
  });
  assertRefused(outcome, /does not match its descriptor: its digest is|is not a valid gzip stream/);
});

test('a plain layer with one bit changed is refused', async (t) => {
  const image = makeImage({ layers: [makeTar([{ name: 'a', data: NOISE }])], packing: 'none' });
  const outcome = await pull(
    t,
    {
      layer: ({ response, bytes }) => {
        const other = Buffer.from(bytes);
        other[5000] = (other[5000] ?? 0) ^ 1;
        response.end(other);
        return true;
      },
    },
    image,
  );
  assertRefused(outcome, /does not match its descriptor: its digest is/);
});

test('a layer larger than stated in its manifest is refused', async (t) => {
  const outcome = await pull(t, {
    layer: ({ response, bytes }) => {
      response.end(Buffer.concat([bytes, Buffer.from('more')]));
      return true;
    },
  });
  assertRefused(outcome, /has more bytes than the \d+ that its manifest says/);
});

test('a manifest that does not match the requested digest is refused', async (t) => {
  const outcome = await pull(t, {}, IMAGE, { tag: `@sha256:${'0'.repeat(64)}` });
  assertRefused(outcome, /the manifest from .* does not match the request/);
});

test('a manifest that does not match its own header is refused', async (t) => {
  const outcome = await pull(t, {
    manifest: ({ response, bytes }) => {
      response.setHeader('docker-content-digest', `sha256:${'1'.repeat(64)}`);
      response.setHeader('content-type', IMAGE.mediaType);
      response.end(bytes);
      return true;
    },
  });
  assertRefused(outcome, /does not match the request/);
});

/** Indexes, each of which names the next alone, and the last the manifest. @returns by digest, the outermost last */
function nestedIndexes(depth: number): Map<string, Buffer> {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const platform = { os: 'linux', architecture: 'amd64' };
  const indexes = new Map<string, Buffer>();
  let below = {
    mediaType: IMAGE.mediaType,
    digest: IMAGE.manifest,
    size: IMAGE.manifestBytes.length,
  };
  for (let count = 0; count < depth; count++) {
    const manifests = [{ ...below, platform }];
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
    below = { mediaType, digest: sha256(bytes), size: bytes.length };
    indexes.set(below.digest, bytes);
  }
  return indexes;
}

function servingIndexes(indexes: ReadonlyMap<string, Buffer>): Trick {
  const outermost = [...indexes.keys()].at(-1) ?? '';
  return ({ request, response }) => {
    const name = /[^/]+$/.exec(request.url ?? '')?.[0] ?? '';
    const bytes = indexes.get(name === '1' ? outermost : name);
    if (bytes === undefined) return false;
    response.setHeader('content-type', 'application/vnd.oci.image.index.v1+json').end(bytes);
    return true;
  };
}

test('manifests that nest: a few levels are followed, many are refused', async (t) => {
  assertHealed(await pull(t, { manifest: servingIndexes(nestedIndexes(2)) }));
  const outcome = await pull(t, { manifest: servingIndexes(nestedIndexes(5)) });
  assertRefused(outcome, /nests indexes too deeply/);
});

test('a manifest that refers to itself does not match its digest', async (t) => {
  // No bytes hold their own digest: the registry has to lie about one of them.
  const [digest = '', bytes = Buffer.alloc(0)] = [...nestedIndexes(1)][0] ?? [];
  const looping = Buffer.from(bytes.toString().replace(IMAGE.manifest, digest));
  const outcome = await pull(t, {
    manifest: ({ response }) => {
      response.setHeader('content-type', 'application/vnd.oci.image.index.v1+json').end(looping);
      return true;
    },
  });
  assertRefused(outcome, /does not match the request/);
});

test('archives whose indexes nest: a few levels are followed, many are refused', async (t) => {
  for (const [depth, message] of [
    [2, undefined],
    [8, /nests indexes too deeply/],
  ] as const) {
    const layout = temporaryFolder(t);
    writeLayout(layout, IMAGE);
    const indexes = nestedIndexes(depth);
    for (const [digest, bytes] of indexes) {
      writeFileSync(join(layout, 'blobs/sha256', digest.slice(7)), bytes);
    }
    const outermost = [...indexes.values()].at(-1) ?? Buffer.alloc(0);
    writeFileSync(join(layout, 'index.json'), outermost);
    const store = ownStore(t);
    const load = store.withContent(async () => {
      return loadImages(await openArchive(layout, store.folders), store);
    });
    if (message === undefined) assert.equal((await load).length, 1);
    else await assert.rejects(load, { code: 'invalid-image', message });
    assert.deepEqual(storeFaults(store.folders.root), []);
  }
});

test('a configuration that does not match its digest is refused', async (t) => {
  const outcome = await pull(t, {
    config: ({ response, bytes }) => {
      response.end(Buffer.alloc(bytes.length, '{'));
      return true;
    },
  });
  assertRefused(outcome, /configuration does not match its digest and size/);
});

for (const [name, header] of [
  ['no token server', 'Bearer service="x"'],
  ['a token server that is no HTTP address', 'Bearer realm="file:///etc/passwd"'],
  ['a challenge that makes no sense', '=,"'],
] as const) {
  test(`${name} is an error`, async (t) => {
    const outcome = await pull(t, {
      manifest: ({ response }) => {
        response.writeHead(401, { 'www-authenticate': header }).end();
        return true;
      },
    });
    assertRefused(outcome, /specifies no token server|authentication required/);
  });
}

test('layers that inflate without end are broken off', async (t) => {
  const zeroes = gzipSync(Buffer.alloc(64 * 2 ** 20), { level: 9 });
  const plain = makeTar([{ name: 'bomb', data: Buffer.alloc(64 * 2 ** 20) }]);
  for (const packing of ['gzip', 'zstd'] as const) {
    const image = makeImage({ layers: [plain], packing });
    assert.ok(zeroes.length < 2 ** 20);
    const limits = { layerBytesMax: 2 ** 20, freeBytesMin: 0 };
    const outcome = await pull(t, {}, image, { limits });
    assertRefused(outcome, /unpacks to more than 1 MiB/);
  }
});

test('a layer whose content differs from the configuration is refused', async (t) => {
  const one = makeTar([{ name: 'a', data: 'a' }]);
  const image = makeImage({ layers: [one] });
  const config = JSON.parse(image.blobs.get(image.config)?.toString() ?? '');
  config.rootfs.diff_ids = [sha256(Buffer.from('something else'))];
  const bytes = Buffer.from(JSON.stringify(config));
  const manifest = JSON.parse(image.manifestBytes.toString());
  manifest.config = { ...manifest.config, digest: sha256(bytes), size: bytes.length };
  const blobs = new Map([...image.blobs, [sha256(bytes), bytes]]);
  const changed = {
    ...image,
    blobs,
    config: sha256(bytes),
    manifestBytes: Buffer.from(JSON.stringify(manifest)),
  };
  assertRefused(
    await pull(t, {}, changed),
    /unpacks to sha256:.*, but the image's configuration says/,
  );
});
