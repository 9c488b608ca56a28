/** Registries that lie, stall and break off: a clear error or a retry that heals, and nothing half-done. */
import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { loadImages } from '../../vmm/container/archive/load.ts';
import { openArchive } from '../../vmm/container/archive/open-archive.ts';
import { type PullOptions, pullImage } from '../../vmm/container/pull.ts';
import { parseReference } from '../../vmm/container/reference.ts';
import type { Credentials } from '../../vmm/container/registry/credentials.ts';
import { RegistryClient } from '../../vmm/container/registry/registry-client.ts';
import { NO_REGISTRY_CONFIG } from '../../vmm/container/registry/registry-config.ts';
import { listTags } from '../../vmm/container/registry/tags.ts';
import {
  type HostileRegistry,
  startHostileRegistry,
  type Trick,
  type Tricks,
} from '../support/hostile-registry.ts';
import { type MadeImage, makeImage, sha256, writeLayout } from '../support/image-maker.ts';
import { ownStore, storeFaults } from '../support/own-store.ts';
import { Random } from '../support/random.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const random = new Random(1);
const NOISE = Buffer.from(Uint8Array.from({ length: 400_000 }, () => random.below(256)));
const IMAGE = makeImage({
  layers: [makeTar([{ name: 'a', data: NOISE }]), makeTar([{ name: 'b', data: 'b' }])],
});
const RETRIES = { tries: 4, firstPauseMs: 1, pauseMsMax: 50 };
const LIMITS = { connectMs: 1000, headersMs: 400, idleMs: 400 };

interface Outcome {
  readonly error: (Error & { code?: string }) | undefined;
  readonly faults: readonly string[];
  readonly images: number;
  readonly registry: HostileRegistry;
  readonly blobs: number;
}

async function pull(
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

function assertRefused({ error, faults, images }: Outcome, message: RegExp): void {
  assert.match(error?.message ?? 'no error', message);
  assert.deepEqual(faults, []);
  assert.equal(images, 0);
}

function assertHealed({ error, faults, images }: Outcome): void {
  assert.equal(error, undefined, error?.stack);
  assert.deepEqual(faults, []);
  assert.equal(images, 1);
}

test('an honest registry', async (t) => {
  assertHealed(await pull(t, {}));
});

test('a layer that is not what its digest says is refused', async (t) => {
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

test('a layer with more bytes than its manifest says is refused', async (t) => {
  const outcome = await pull(t, {
    layer: ({ response, bytes }) => {
      response.end(Buffer.concat([bytes, Buffer.from('more')]));
      return true;
    },
  });
  assertRefused(outcome, /has more bytes than the \d+ that its manifest says/);
});

test('a body without end is broken off', async (t) => {
  let sent = 0;
  const outcome = await pull(t, {
    layer: ({ response, bytes }) => {
      response.write(bytes);
      const chunk = Buffer.alloc(65_536);
      const more = () => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.length;
        response.once('drain', more);
      };
      more();
      return true;
    },
  });
  assertRefused(outcome, /has more bytes than/);
  assert.ok(sent < 64 * 2 ** 20, `${sent} bytes were taken`);
});

test('a manifest without end is broken off', async (t) => {
  const outcome = await pull(t, {
    manifest: ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/vnd.oci.image.manifest.v1+json' });
      const chunk = Buffer.alloc(65_536, ' ');
      const more = () => {
        while (!response.destroyed && response.write(chunk));
        response.once('drain', more);
      };
      more();
      return true;
    },
  });
  assertRefused(outcome, /answers with more than \d+ bytes/);
});

test('a layer that breaks off again and again is fetched piece by piece', async (t) => {
  const outcome = await pull(t, {
    layer: ({ request, response, bytes }) => {
      const start = Number(/(\d+)-$/.exec(request.headers.range ?? '0-')?.[1]);
      const end = Math.min(bytes.length, start + 70_000);
      if (end === bytes.length) return false;
      response.writeHead(start > 0 ? 206 : 200, {
        'content-length': bytes.length - start,
        'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      });
      response.write(bytes.subarray(start, end), () => response.destroy());
      return true;
    },
  });
  assertHealed(outcome);
  assert.ok(outcome.registry.requests.filter(({ headers }) => headers.range).length >= 4);
});

test('a registry without ranges sends the blob again, and no bytes are used twice', async (t) => {
  const outcome = await pull(t, {
    layer: ({ response, bytes, earlier }) => {
      response.writeHead(200, { 'content-length': bytes.length });
      if (earlier === 0 && bytes.length > 1000) {
        response.write(bytes.subarray(0, 100_000), () => response.destroy());
      } else response.end(bytes);
      return true;
    },
  });
  assertHealed(outcome);
});

test('a range that was not asked for is refused', async (t) => {
  const outcome = await pull(t, {
    layer: ({ request, response, bytes }) => {
      if (bytes.length < 1000) return false;
      if (request.headers.range === undefined) {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 100_000), () => response.destroy());
      } else {
        response.writeHead(206, { 'content-range': `bytes 5-${bytes.length - 1}/${bytes.length}` });
        response.end(bytes.subarray(5));
      }
      return true;
    },
  });
  assertRefused(outcome, /sent a wrong range/);
});

test('a right header before the wrong range is found out by the digest', async (t) => {
  const outcome = await pull(t, {
    layer: ({ request, response, bytes }) => {
      if (bytes.length < 1000) return false;
      const start = Number(/(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? Number.NaN);
      if (Number.isNaN(start)) {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, 100_000), () => response.destroy());
      } else {
        response.writeHead(206, { 'content-range': `bytes ${start}-${bytes.length - 1}/*` });
        response.end(bytes.subarray(0, bytes.length - start));
      }
      return true;
    },
  });
  assertRefused(outcome, /does not match its descriptor|is not a valid gzip stream/);
});

test('a registry that stalls amid a layer is asked again', async (t) => {
  const outcome = await pull(t, {
    layer: ({ response, bytes, earlier }) => {
      if (earlier > 0) return false;
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, bytes.length >> 1));
      return true;
    },
  });
  assertHealed(outcome);
});

test('a registry that never answers is given up', async (t) => {
  const outcome = await pull(t, { manifest: () => true });
  assertRefused(outcome, /Get "http:\/\/127\.0\.0\.1:\d+\/v2\/": Headers Timeout/);
});

for (const status of [429, 500, 503]) {
  test(`an answer ${status} is waited out`, async (t) => {
    const trick: Tricks['layer'] = ({ response, earlier }) => {
      if (earlier >= 2) return false;
      response.writeHead(status, { 'retry-after': '0' }).end('busy');
      return true;
    };
    assertHealed(await pull(t, { manifest: trick, layer: trick, config: trick }));
  });

  test(`${status} for ever is given up`, async (t) => {
    const outcome = await pull(t, {
      layer: ({ response }) => {
        response
          .writeHead(status)
          .end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
        return true;
      },
    });
    assertRefused(outcome, new RegExp(`answers ${status} toomanyrequests: slow down`));
  });
}

test('a pause of a year is not waited out', async (t) => {
  const started = performance.now();
  const outcome = await pull(t, {
    layer: ({ response }) => {
      response.writeHead(429, { 'retry-after': '31536000' }).end();
      return true;
    },
  });
  assertRefused(outcome, /answers 429/);
  assert.ok(performance.now() - started < 10_000);
});

test('redirects in circles are given up', async (t) => {
  const outcome = await pull(t, {
    layer: ({ request, response }) => {
      response.writeHead(307, { location: request.url ?? '' }).end();
      return true;
    },
  });
  assertRefused(outcome, /redirects in a loop/);
});

for (const location of ['file:///etc/passwd', 'gopher://x', 'http://[bad', '//']) {
  test(`a redirect to ${location} is refused`, async (t) => {
    const outcome = await pull(t, {
      layer: ({ response }) => {
        response.writeHead(307, { location }).end();
        return true;
      },
    });
    assertRefused(outcome, /redirects to an address that is not HTTP/);
  });
}

test('credentials are not shown to the host that a layer is redirected to', async (t) => {
  const other = await startHostileRegistry(t, IMAGE, {});
  const outcome = await pull(
    t,
    {
      manifest: ({ request, response }) => {
        if (request.headers.authorization !== undefined) return false;
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
        return true;
      },
      layer: ({ request, response }) => {
        const target = `http://${other.host}${request.url}`;
        response.writeHead(307, { location: target }).end();
        return true;
      },
    },
    IMAGE,
    { credentials: { username: 'u', password: 'secret', identityToken: undefined } },
  );
  assertHealed(outcome);
  assert.ok(other.requests.length > 0);
  for (const { headers } of other.requests) assert.equal(headers.authorization, undefined);
});

test('a manifest that is not what was asked for by digest is refused', async (t) => {
  const outcome = await pull(t, {}, IMAGE, { tag: `@sha256:${'0'.repeat(64)}` });
  assertRefused(outcome, /the manifest from .* does not match the request/);
});

test('a manifest that is not what its own header says is refused', async (t) => {
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

test('manifests that loop: one that names itself is not what its digest says', async (t) => {
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

test('a configuration that is not what its digest says is refused', async (t) => {
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

test('a token with a line break in it is not used', async (t) => {
  const outcome = await pull(t, {
    manifest: ({ request, response }) => {
      const realm = `http://${request.headers.host}/token`;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end();
      return true;
    },
    other: ({ request, response }) => {
      if (!request.url?.startsWith('/token')) return false;
      response.end(JSON.stringify({ token: 'a\r\nx-evil: 1' }));
      return true;
    },
  });
  assertRefused(outcome, /returned no token/);
});

test('a token server that asks for a token', async (t) => {
  const outcome = await pull(t, {
    manifest: ({ request, response }) => {
      if (request.headers.authorization === 'Bearer good') return false;
      const realm = `http://${request.headers.host}/token`;
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s",scope="x"` })
        .end();
      return true;
    },
    other: ({ request, response }) => {
      if (!request.url?.startsWith('/token')) return false;
      assert.match(request.url, /service=s&scope=repository%3Ax%2Fy%3Apull/);
      response.end(JSON.stringify({ access_token: 'good' }));
      return true;
    },
  });
  assertHealed(outcome);
});

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

test('a layer that unpacks to something else than the configuration says is refused', async (t) => {
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

test('a pull that is broken off leaves nothing half-done', async (t) => {
  const controller = new AbortController();
  const outcome = await pull(
    t,
    {
      layer: async ({ response, bytes }) => {
        response.writeHead(200, { 'content-length': bytes.length });
        response.write(bytes.subarray(0, bytes.length >> 1));
        await sleep(50);
        controller.abort(new Error('enough'));
        return true;
      },
    },
    IMAGE,
    { signal: controller.signal },
  );
  assertRefused(outcome, /^enough$/);
});

test('two pulls of one image at once share the work', async (t) => {
  const registry = await startHostileRegistry(t, IMAGE, {
    layer: async () => {
      await sleep(200);
      return false;
    },
  });
  const store = ownStore(t);
  const clients = [1, 2].map(
    () =>
      new RegistryClient({
        host: registry.host,
        config: NO_REGISTRY_CONFIG,
        credentials: undefined,
      }),
  );
  const reference = parseReference(`${registry.host}/x/y:1`);
  await Promise.all(clients.map((client) => pullImage(store, client, reference)));
  for (const client of clients) await client.close();
  for (const { digest } of IMAGE.layers) {
    assert.equal(registry.requests.filter(({ url }) => url.endsWith(digest)).length, 1);
  }
});

async function tagsOf(t: TestContext, other: Trick): Promise<string[]> {
  const { host } = await startHostileRegistry(t, IMAGE, { other });
  const options = { config: NO_REGISTRY_CONFIG, credentials: undefined };
  const client = new RegistryClient({ ...options, host, retries: RETRIES, limits: LIMITS });
  try {
    return await listTags(client, 'x/y');
  } finally {
    await client.close();
  }
}

/** Answers requests for tags with what `page` makes of their number. */
function pages(
  page: (number: number) => { readonly tags: unknown; readonly link?: string },
): Trick {
  return ({ request, response, earlier }) => {
    const [, number] = /\/tags\/list(?:\?last=(\d+))?$/.exec(request.url ?? '') ?? [
      undefined,
      'no',
    ];
    if (number === 'no') return false;
    if (earlier === 0 && number === '2') response.socket?.destroy();
    const { link, tags } = page(Number(number ?? 0));
    if (link !== undefined) response.setHeader('link', `<${link}>; rel="next"`);
    response.end(JSON.stringify({ name: 'x/y', tags }));
    return true;
  };
}

test('a list of tags in pages, one of which breaks off', async (t) => {
  const list = pages((number) => ({
    tags: [`a${number}`, 'same'],
    ...(number < 3 && { link: `/v2/x/y/tags/list?last=${number + 1}` }),
  }));
  assert.deepEqual(await tagsOf(t, list), ['a0', 'same', 'a1', 'a2', 'a3']);
  assert.deepEqual(
    await tagsOf(
      t,
      pages(() => ({ tags: null })),
    ),
    [],
  );
});

test('lists of tags without end, with names that are none, or that continue elsewhere are refused', async (t) => {
  const next = (number: number) => `/v2/x/y/tags/list?last=${number + 1}`;
  for (const [page, message] of [
    [(number: number) => ({ tags: [`a${number}`], link: next(number) }), /too many tags/],
    [(number: number) => ({ tags: [], link: next(number) }), /too many tags/],
    [() => ({ tags: Array.from({ length: 20_000 }, (_, index) => `${index}`) }), /too many tags/],
    [() => ({ tags: ['../x'] }), /is not a list of tags/],
    [() => ({ tags: [1] }), /is not a list of tags/],
    [() => ({ tags: 'a' }), /is not a list of tags/],
    [() => ({ tags: ['x'.repeat(5 * 2 ** 20)] }), /more than 4194304 bytes/],
    [() => ({ tags: [], link: 'http://169.254.1.1/v2/x/y/tags/list' }), /on 169\.254\.1\.1/],
  ] as const) {
    await assert.rejects(tagsOf(t, pages(page)), { code: 'registry-failed', message });
  }
});
