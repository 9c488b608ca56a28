/** Authentication to a registry: basic, or with tokens of a token server. */
import { TsvmError } from '../../errors.ts';
import { isObject, stringAt } from '../json.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credentials } from './credentials.ts';
import { type RegistryHttp, readBody } from './registry-http.ts';

const TOKEN_BYTES_MAX = 2 ** 20;

export interface AuthOptions {
  readonly http: RegistryHttp;
  readonly credentials: Credentials | undefined;
  /** Tokens may be asked for over plain HTTP. */
  readonly insecure: boolean;
}

export class RegistryAuth {
  readonly #options: AuthOptions;
  /** The last accepted authorization, by scope. */
  readonly #headers = new Map<string, string>();

  constructor(options: AuthOptions) {
    this.#options = options;
  }

  /** The header to begin with. */
  header(scope: string): string | undefined {
    return this.#headers.get(scope);
  }

  /**
   * Answers the registry's authentication challenge.
   * @param challenge the header WWW-Authenticate
   * @returns the header to try again with; undefined when there is nothing to show
   */
  async answer(
    challenge: string,
    scope: string,
    signal?: AbortSignal,
  ): Promise<string | undefined> {
    const challenges = parseChallenges(challenge);
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const header =
      bearer === undefined
        ? challenges.some(({ scheme }) => scheme === 'basic')
          ? this.#basic()
          : undefined
        : `Bearer ${await this.#token(bearer, scope, signal)}`;
    if (header !== undefined) this.#headers.set(scope, header);
    return header;
  }

  #basic(): string | undefined {
    const { credentials } = this.#options;
    if (credentials === undefined || credentials.username === '') return undefined;
    const { username, password } = credentials;
    return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  }

  /** The distribution project's "Token Authentication" and "OAuth2 Token Authentication". */
  async #token({ parameters }: Challenge, scope: string, signal?: AbortSignal): Promise<string> {
    const realm = URL.parse(parameters.get('realm') ?? '');
    const { credentials, http, insecure } = this.#options;
    if (realm === null || !/^https?:$/.test(realm.protocol)) {
      throw new TsvmError('registry-failed', 'the registry specifies no token server');
    }
    if (realm.protocol === 'http:' && !insecure) {
      throw new TsvmError(
        'registry-failed',
        `the registry requires a token from ${realm.host} over plain HTTP, which is not secure`,
      );
    }
    const service = parameters.get('service') ?? '';
    const identityToken = credentials?.identityToken;
    let answer: Awaited<ReturnType<RegistryHttp['send']>>;
    if (identityToken === undefined) {
      if (service !== '') realm.searchParams.set('service', service);
      if (scope !== '') realm.searchParams.set('scope', scope);
      const basic = this.#basic();
      answer = await http.send({
        method: 'GET',
        url: realm,
        signal,
        headers: basic === undefined ? {} : { authorization: basic },
      });
    } else {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: identityToken,
        client_id: 'tsvm',
        service,
        scope,
      });
      answer = await http.send({
        method: 'POST',
        url: realm,
        signal,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: form.toString(),
      });
    }
    const body = await readBody(answer, TOKEN_BYTES_MAX, realm);
    if (answer.statusCode === 401 || answer.statusCode === 403) {
      throw new TsvmError('registry-denied', 'unauthorized: incorrect username or password');
    }
    if (answer.statusCode === 200) {
      try {
        const json: unknown = JSON.parse(body.toString('utf8'));
        const token = isObject(json) && (stringAt(json, 'token') || stringAt(json, 'access_token'));
        if (token && /^[\x21-\x7e]+$/.test(token)) return token;
      } catch {}
    }
    throw new TsvmError(
      'registry-failed',
      `the token server ${realm.host} returned no token (status ${answer.statusCode})`,
    );
  }
}
