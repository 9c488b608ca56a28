/** Lists the tags of a repository: OCI distribution-spec 1.1, "Listing Tags". */
import { TsvmError } from '../../errors.ts';
import { isObject } from '../json.ts';
import { isTag } from '../reference.ts';
import { expectStatus, pullScope, type RegistryClient } from './registry-client.ts';
import { headerText, readBody, resolveUrl, shortText } from './registry-http.ts';

/** Of a page. */
const PAGE_BYTES_MAX = 4 * 2 ** 20;
/** A limit, because a malicious registry may send pages without end. */
const TAGS_MAX = 10_000;
const PAGES_MAX = 1000;

/**
 * @returns the tags in the registry's order, each once
 * @throws TsvmError `image-not-found`, `registry-denied`, `registry-failed`
 */
export async function listTags(
  client: RegistryClient,
  repository: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const tags = new Set<string>();
  let path: string | undefined = `${repository}/tags/list`;
  for (let pages = 1; path !== undefined; pages++) {
    const from: string = path;
    const page = await client.retrying(() => readPage(client, repository, from, signal), signal);
    for (const tag of page.tags) tags.add(tag);
    path = page.next;
    if (tags.size <= TAGS_MAX && pages <= PAGES_MAX) continue;
    throw new TsvmError(
      'registry-failed',
      `${client.host} lists too many tags of ${repository}: pull individual tags`,
    );
  }
  return [...tags];
}

interface Page {
  readonly tags: readonly string[];
  /** Where the next one is. */
  readonly next: string | undefined;
}

async function readPage(
  client: RegistryClient,
  repository: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Page> {
  const scope = pullScope(repository);
  const { answer, url } = await client.once(path, { method: 'GET', scope, signal });
  if (answer.statusCode === 404) {
    const said = await shortText(answer);
    throw new TsvmError('image-not-found', `repository ${repository} not found: ${said}`);
  }
  await expectStatus(answer, [200], url);
  const tags = tagsOf(await readBody(answer, PAGE_BYTES_MAX, url));
  if (tags === undefined) {
    throw new TsvmError('registry-failed', `the answer of ${url.host} is not a list of tags`);
  }
  // RFC 8288: `<URL>; rel="next"`.
  const [, link] = /<([^>]*)>\s*;[^,]*\brel="?next"?/.exec(headerText(answer, 'link') ?? '') ?? [];
  if (link === undefined) return { tags, next: undefined };
  const next = resolveUrl(link, url);
  if (next.origin === url.origin) return { tags, next: next.href };
  throw new TsvmError('registry-failed', `${url.host} continues its list of tags on ${next.host}`);
}

function tagsOf(body: Buffer): readonly string[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {}
  if (!isObject(json)) return undefined;
  // A repository without tags.
  const tags: unknown = json['tags'] ?? [];
  const isList = Array.isArray(tags) && tags.every((tag) => typeof tag === 'string' && isTag(tag));
  return isList ? tags : undefined;
}
