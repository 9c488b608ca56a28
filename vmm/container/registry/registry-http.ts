/** HTTP for registries: time limits, redirects, and errors that name the failing host. */
import { addAbortListener } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, type Dispatcher, request } from 'undici';
import { TsvmError } from '../../errors.ts';
import { PassingFailure } from './retry.ts';

export interface HttpLimits {
  readonly connectMs: number;
  /** Until an answer begins. */
  readonly headersMs: number;
  /** Between two pieces of a body. */
  readonly idleMs: number;
}

export const HTTP_LIMITS: HttpLimits = { connectMs: 15_000, headersMs: 60_000, idleMs: 60_000 };

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly signal?: AbortSignal | undefined;
}

export type HttpAnswer = Dispatcher.ResponseData;

export interface HttpOptions {
  /** A certificate is not checked, and plain HTTP is allowed. */
  readonly insecure: boolean;
  /** A PEM file. */
  readonly ca: string | undefined;
  readonly limits?: HttpLimits;
}

const REDIRECTS_MAX = 10;
const REDIRECT_STATUS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Status codes worth a retry: RFC 9110, section 15; 429 of RFC 6585. */
const PASSING_STATUS: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

export class RegistryHttp {
  readonly #agent: Agent;
  readonly #insecure: boolean;

  constructor({ insecure, ca, limits = HTTP_LIMITS }: HttpOptions) {
    this.#insecure = insecure;
    this.#agent = new Agent({
      connect: {
        timeout: limits.connectMs,
        // Certificates that the user has named are checked even so.
        rejectUnauthorized: !insecure || ca !== undefined,
        ...(ca !== undefined && { ca: readCertificates(ca) }),
      },
      headersTimeout: limits.headersMs,
      bodyTimeout: limits.idleMs,
      // Ten layers at a time, and a manifest.
      connections: 16,
    });
  }

  /** Ends all connections, even if they are in use. */
  close(): Promise<void> {
    return this.#agent.destroy();
  }

  /**
   * One request, with the redirects that it takes.
   * @throws PassingFailure when there is no answer, or one that may be another the next time
   * @throws TsvmError `registry-failed` for permanent errors
   */
  async send(wanted: HttpRequest): Promise<HttpAnswer> {
    let { url, headers } = wanted;
    for (let redirects = 0; ; redirects++) {
      const answer = await this.#request({ ...wanted, url, ...(headers && { headers }) });
      if (!REDIRECT_STATUS.has(answer.statusCode) || wanted.method === 'PATCH') return answer;
      const location = headerText(answer, 'location');
      await drain(answer);
      if (location === undefined || redirects === REDIRECTS_MAX) {
        throw failed(url, location === undefined ? 'redirects to nowhere' : 'redirects in a loop');
      }
      const target = resolveUrl(location, url);
      if (target.protocol === 'http:' && url.protocol === 'https:' && !this.#insecure) {
        throw failed(url, 'redirects to plain HTTP, which is not secure');
      }
      // Never send credentials to another host.
      if (target.origin !== url.origin) headers = withoutAuthorization(headers);
      url = target;
    }
  }

  async #request({ method, url, headers, body, signal }: HttpRequest): Promise<HttpAnswer> {
    let answer: HttpAnswer;
    try {
      const answered = request(url, {
        method,
        dispatcher: this.#agent,
        headers: { 'user-agent': 'tsvm', 'accept-encoding': 'identity', ...headers },
        body: body ?? null,
        signal: signal ?? null,
      });
      answer = await (signal === undefined ? answered : unlessAborted(answered, signal));
    } catch (error) {
      throw signal?.aborted ? signal.reason : connectionFailure(url, error);
    }
    if (!PASSING_STATUS.has(answer.statusCode)) return answer;
    const text = await shortText(answer);
    throw new PassingFailure(`${url.host} answers ${answer.statusCode} ${text}`.trim(), {
      pauseMs: retryAfterMs(headerText(answer, 'retry-after')),
    });
  }
}

/** undici takes notice of a signal only once it is connected. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const listener = addAbortListener(signal, () => reject(signal.reason));
  try {
    return await Promise.race([work, promise]);
  } finally {
    listener[Symbol.dispose]();
  }
}

function readCertificates(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new TsvmError('file-unreadable', `the CA file ${path} cannot be read`, { cause });
  }
}

/** Certificate errors are not retried. */
const CERTIFICATE_ERROR = /^(?:ERR_TLS_|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|ERR_SSL_)/;

/** Error codes of undici and Node for a missing or truncated response. */
export function connectionFailure(url: URL, error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  if (error instanceof TsvmError || error instanceof PassingFailure) return error;
  const code = 'code' in error ? String(error.code) : '';
  const text = `Get "${url.origin}/v2/": ${error.message || code}`;
  if (CERTIFICATE_ERROR.test(code)) {
    const advice = 'configure its CA file in registries.json, or allow it with --insecure';
    return new TsvmError('registry-failed', `${text} (${advice})`, { cause: error });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN' || code === 'ECONNREFUSED') {
    return new TsvmError('registry-failed', text, { cause: error });
  }
  return new PassingFailure(text, { cause: error });
}

function failed(url: URL, what: string): TsvmError {
  return new TsvmError('registry-failed', `${url.host} ${what}`);
}

/** An address that the user has given. @throws TsvmError `invalid-config` */
export function givenUrl(text: string): URL {
  const url = URL.parse(text);
  if (url !== null && url.host !== '') return url;
  throw new TsvmError('invalid-config', `invalid address "${text}": check its host and port`);
}

export function resolveUrl(location: string, base: URL): URL {
  const url = URL.parse(location, base.href);
  if (url !== null && /^https?:$/.test(url.protocol)) return url;
  throw failed(base, 'redirects to an address that is not HTTP');
}

function withoutAuthorization(
  headers: Readonly<Record<string, string>> | undefined,
): Record<string, string> {
  const kept = Object.entries(headers ?? {}).filter(([name]) => !/^authorization$/i.test(name));
  return Object.fromEntries(kept);
}

/** The first value of a header. */
export function headerText({ headers }: HttpAnswer, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Seconds or a date. */
function retryAfterMs(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Takes a body that is not wanted, so that its connection can be used again, or ends that. */
export async function drain(answer: HttpAnswer): Promise<void> {
  await answer.body.dump({ limit: 65_536 }).catch(() => {});
}

/**
 * A body that has to be small.
 * @throws TsvmError `registry-failed` when it has more than `bytesMax`
 */
export async function readBody(answer: HttpAnswer, bytesMax: number, url: URL): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > bytesMax) throw failed(url, `answers with more than ${bytesMax} bytes`);
    }
  } catch (error) {
    throw connectionFailure(url, error);
  }
  return Buffer.concat(chunks);
}

const ERROR_BYTES_MAX = 16_384;

/** The message in an error response, as one line. */
export async function shortText(answer: HttpAnswer): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer.body) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > ERROR_BYTES_MAX) break;
    }
  } catch {}
  return errorText(Buffer.concat(chunks).toString('utf8', 0, ERROR_BYTES_MAX));
}

/** OCI distribution-spec, "Error Codes": `{"errors": [{"code", "message"}]}`. */
function errorText(body: string): string {
  let text = body;
  try {
    const { errors } = JSON.parse(body);
    const lines = [errors].flat().map(({ code, message }) => {
      const kind = String(code ?? '')
        .toLowerCase()
        .replaceAll('_', ' ');
      return [kind, message].filter((part) => part).join(': ');
    });
    text = lines.join('; ');
  } catch {}
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
    .slice(0, 300);
}

/** @throws TsvmError `registry-failed` for any status but 200 */
export async function expectOk(answer: HttpAnswer, url: URL): Promise<void> {
  if (answer.statusCode === 200) return;
  await drain(answer);
  throw failed(url, `answers ${answer.statusCode} for ${url.pathname}`);
}
