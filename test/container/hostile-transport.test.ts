/** Registries that stall, break off, redirect and ask for tokens. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pullImage } from '../../vmm/container/pull.ts';
import { parseReference } from '../../vmm/container/reference.ts';
import { RegistryClient } from '../../vmm/container/registry/registry-client.ts';
import { NO_REGISTRY_CONFIG } from '../../vmm/container/registry/registry-config.ts';
import { assertHealed, assertRefused, IMAGE, pull } from '../support/hostile-pull.ts';
import { startHostileRegistry, type Tricks } from '../support/hostile-registry.ts';
import { ownStore } from '../support/own-store.ts';

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
