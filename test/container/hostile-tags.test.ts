/** Lists of tags from hostile registries. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RegistryClient } from '../../vmm/container/registry/registry-client.ts';
import { NO_REGISTRY_CONFIG } from '../../vmm/container/registry/registry-config.ts';
import { listTags } from '../../vmm/container/registry/tags.ts';
import { IMAGE, LIMITS, RETRIES } from '../support/hostile-pull.ts';
import { startHostileRegistry, type Trick } from '../support/hostile-registry.ts';

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
