/** A client of the OCI distribution API (distribution-spec 1.1), for one registry. */
import { TsvmError } from '../../errors.ts';
import { type Digest, digestBytes, parseDigest } from '../digest.ts';
import { type Descriptor, MANIFEST_BYTES_MAX, MANIFEST_TYPES } from '../manifest.ts';
import { DEFAULT_DOMAIN } from '../reference.ts';
import { type Credentials, storedCredentials } from './credentials.ts';
import { RegistryAuth } from './registry-auth.ts';
import { NO_REGISTRY_CONFIG, type RegistryConfig, readRegistryConfig } from './registry-config.ts';
import {
  connectionFailure,
  drain,
  givenUrl,
  HTTP_LIMITS,
  type HttpAnswer,
  type HttpLimits,
  type HttpRequest,
  headerText,
  RegistryHttp,
  readBody,
  resolveUrl,
  shortText,
} from './registry-http.ts';
import { PassingFailure, RETRY_POLICY, Retries, type RetryPolicy } from './retry.ts';

const DEFAULT_HOST = 'registry-1.docker.io';
/** As in Docker, TLS and valid certificates are optional for registries on this host. */
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$/;
/** Bytes of a blob that count as progress. */
const PROGRESS_BYTES = 64 * 1024;

export interface ClientOptions {
  /** A host with its port, or the URL of one. */
  readonly host: string;
  readonly config: RegistryConfig;
  readonly credentials: Credentials | undefined;
  readonly limits?: HttpLimits;
  readonly retries?: RetryPolicy;
}

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly mediaType: string | undefined;
  readonly digest: Digest;
}

type ApiRequest = Omit<HttpRequest, 'url'> & { readonly scope: string };

/** Access to a repository: the distribution project's "Token Scope Documentation". */
export function pullScope(repository: string): string {
  return `repository:${repository}:pull`;
}

export function pushScope(repository: string): string {
  return `repository:${repository}:pull,push`;
}

export class RegistryClient {
  readonly host: string;
  readonly #fixedBase: URL | undefined;
  readonly #insecure: boolean;
  readonly #http: RegistryHttp;
  readonly #auth: RegistryAuth;
  readonly #policy: RetryPolicy;
  #base: Promise<URL> | undefined;

  constructor({ host, config, credentials, limits = HTTP_LIMITS, ...options }: ClientOptions) {
    const isUrl = /^https?:\/\//.test(host);
    this.#fixedBase = isUrl ? givenUrl(host) : undefined;
    this.host = this.#fixedBase?.host ?? host;
    this.#insecure = config.insecure || LOOPBACK.test(this.host);
    this.#policy = options.retries ?? RETRY_POLICY;
    this.#http = new RegistryHttp({ insecure: this.#insecure, ca: config.ca, limits });
    this.#auth = new RegistryAuth({ http: this.#http, credentials, insecure: this.#insecure });
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  /**
   * Fetches a manifest or an index.
   * @param reference a tag or a digest
   * @throws TsvmError `image-not-found`, `registry-denied`, `registry-failed`, and `invalid-image`
   * when it is not what its digest says
   */
  manifest(repository: string, reference: string, signal?: AbortSignal): Promise<FetchedManifest> {
    return this.retrying(() => this.#manifest(repository, reference, signal), signal);
  }

  async #manifest(
    repository: string,
    reference: string,
    signal?: AbortSignal,
  ): Promise<FetchedManifest> {
    const path = `${repository}/manifests/${reference}`;
    const { answer, url } = await this.once(path, {
      method: 'GET',
      scope: pullScope(repository),
      headers: { accept: MANIFEST_TYPES.join(', ') },
      signal,
    });
    if (answer.statusCode === 404) {
      const said = await shortText(answer);
      const separator = parseDigest(reference) === undefined ? ':' : '@';
      throw new TsvmError(
        'image-not-found',
        `manifest for ${repository}${separator}${reference} not found: ${said || 'not found'}`,
      );
    }
    await expectStatus(answer, [200], url);
    const bytes = await readBody(answer, MANIFEST_BYTES_MAX, url);
    const wanted = parseDigest(reference);
    const stated = parseDigest(headerText(answer, 'docker-content-digest'));
    for (const expected of [wanted, stated]) {
      if (expected === undefined || digestBytes(bytes, expected) === expected) continue;
      throw new TsvmError(
        'invalid-image',
        `the manifest from ${this.host} does not match the request: its digest is ` +
          `${digestBytes(bytes, expected)}, not ${expected}`,
      );
    }
    const digest = wanted ?? digestBytes(bytes);
    return { bytes, digest, mediaType: headerText(answer, 'content-type') };
  }

  /**
   * The bytes of a blob, fetched piece by piece where the connection breaks. They are not checked,
   * and there may be more than the descriptor says.
   */
  async *blob(
    repository: string,
    { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
    signal?: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    const retries = new Retries(this.#policy);
    let offset = 0;
    let offsetAtFailure = 0;
    while (offset < size || size === 0) {
      try {
        const { answer, skipBytes, url } = await this.#openBlob(repository, digest, offset, signal);
        let skip = skipBytes;
        try {
          for await (const chunk of answer.body) {
            const skipped = Math.min(skip, chunk.length);
            skip -= skipped;
            if (skipped === chunk.length) continue;
            offset += chunk.length - skipped;
            yield skipped === 0 ? chunk : chunk.subarray(skipped);
          }
        } catch (error) {
          throw signal?.aborted ? signal.reason : connectionFailure(url, error);
        }
        if (offset >= size) return;
        throw new PassingFailure(`${this.host} sent ${offset} of ${size} bytes of ${digest}`);
      } catch (error) {
        if (offset - offsetAtFailure >= PROGRESS_BYTES) retries.reset();
        offsetAtFailure = offset;
        await retries.failed(error, signal);
      }
    }
  }

  async #openBlob(
    repository: string,
    digest: Digest,
    offset: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly answer: HttpAnswer; readonly skipBytes: number; readonly url: URL }> {
    const { answer, url } = await this.once(`${repository}/blobs/${digest}`, {
      method: 'GET',
      scope: pullScope(repository),
      ...(offset > 0 && { headers: { range: `bytes=${offset}-` } }),
      signal,
    });
    await expectStatus(answer, offset > 0 ? [200, 206] : [200], url);
    // The registry does not support ranges and sends the whole blob.
    if (answer.statusCode === 200) return { answer, url, skipBytes: offset };
    const range = headerText(answer, 'content-range');
    if (range?.startsWith(`bytes ${offset}-`)) return { answer, url, skipBytes: 0 };
    await drain(answer);
    throw new TsvmError(
      'registry-failed',
      `${url.host} sent a wrong range (${range?.slice(0, 100)}) instead of bytes ${offset}-`,
    );
  }

  /**
   * Asks for anything at all, to learn whether the registry lets us in.
   * @throws TsvmError `registry-denied`
   */
  async checkLogin(signal?: AbortSignal): Promise<void> {
    const { answer, url } = await this.api('', { method: 'GET', scope: '', signal });
    await expectStatus(answer, [200], url);
    await drain(answer);
  }

  /** Sends an idempotent request, with retries. */
  api(
    path: string,
    request: ApiRequest,
  ): Promise<{ readonly answer: HttpAnswer; readonly url: URL }> {
    return this.retrying(() => this.once(path, request), request.signal);
  }

  /** Retries `work` after transient failures. */
  async retrying<T>(work: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const retries = new Retries(this.#policy);
    for (;;) {
      try {
        return await work();
      } catch (error) {
        await retries.failed(error, signal);
      }
    }
  }

  /** Sends a request, with authentication if the registry requires it. */
  async once(
    path: string,
    { scope, ...request }: ApiRequest,
  ): Promise<{ readonly answer: HttpAnswer; readonly url: URL }> {
    this.#base ??= this.#findBase(request.signal);
    const base = await this.#base.catch((error: unknown) => {
      this.#base = undefined;
      throw error;
    });
    const url = resolveUrl(path.startsWith('http') ? path : `/v2/${path}`, base);
    const send = (authorization: string | undefined) =>
      this.#http.send({
        ...request,
        url,
        headers: { ...request.headers, ...(authorization && { authorization }) },
      });
    // An upload may go to another host, which has its own way of knowing us.
    if (url.origin !== base.origin) return { answer: await send(undefined), url };
    const first = await send(this.#auth.header(scope));
    if (first.statusCode !== 401) return { answer: first, url };
    const challenge = headerText(first, 'www-authenticate') ?? '';
    const said = await shortText(first);
    const header = await this.#auth.answer(challenge, scope, request.signal);
    if (header === undefined) throw denied(said);
    const second = await send(header);
    if (second.statusCode === 401) throw denied(await shortText(second));
    return { answer: second, url };
  }

  /** Where TLS is optional it is tried first. */
  async #findBase(signal: AbortSignal | undefined): Promise<URL> {
    if (this.#fixedBase !== undefined) return this.#fixedBase;
    const secure = givenUrl(`https://${this.host}`);
    if (!this.#insecure) return secure;
    try {
      await drain(await this.#http.send({ method: 'GET', url: new URL('/v2/', secure), signal }));
      return secure;
    } catch (error) {
      if (signal?.aborted) throw error;
      // It answered, though with a failure: it is not that it knows no TLS.
      if (error instanceof PassingFailure && error.cause === undefined) return secure;
      return new URL(`http://${this.host}`);
    }
  }
}

function denied(said: string): TsvmError {
  return new TsvmError('registry-denied', said || 'unauthorized: authentication required');
}

/** @throws TsvmError for any other status, with the registry's message */
export async function expectStatus(
  answer: HttpAnswer,
  statuses: readonly number[],
  url: URL,
): Promise<void> {
  if (statuses.includes(answer.statusCode)) return;
  const said = await shortText(answer);
  if (answer.statusCode === 401 || answer.statusCode === 403) throw denied(said);
  throw new TsvmError(
    'registry-failed',
    `${url.host} answers ${answer.statusCode} for ${url.pathname}: ${said}`,
  );
}

export interface RegistryOptions {
  /** The user allows plain HTTP and unknown certificates. */
  readonly insecure: boolean;
  readonly env?: NodeJS.ProcessEnv;
  /** Told why the user's logins cannot be read. */
  readonly warn: (message: string) => void;
}

function hostOf(domain: string): string {
  return domain === DEFAULT_DOMAIN ? DEFAULT_HOST : domain;
}

/** @param credentials instead of those that the user has stored */
export function openRegistry(
  domain: string,
  { insecure, env = process.env, warn }: RegistryOptions,
  credentials = storedCredentials(domain, env, warn),
): RegistryClient {
  const config = readRegistryConfig(domain, env);
  return new RegistryClient({
    host: hostOf(domain),
    config: { ...config, insecure: config.insecure || insecure },
    credentials,
  });
}

/** The mirrors of a registry, in the order in which they are asked. */
export function openMirrors(domain: string, options: RegistryOptions) {
  const { insecure, env = process.env, warn } = options;
  return readRegistryConfig(domain, env).mirrors.map((host) => {
    const name = URL.parse(host)?.host ?? host;
    const config = { ...readRegistryConfig(name, env), mirrors: NO_REGISTRY_CONFIG.mirrors };
    return new RegistryClient({
      host,
      config: { ...config, insecure: config.insecure || insecure },
      credentials: storedCredentials(name, env, warn),
    });
  });
}
