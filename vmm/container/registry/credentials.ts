/**
 * A user's registry credentials: Docker's `config.json`, shared with other tools, and the credential
 * helpers configured in it (the protocol of docker-credential-helpers).
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { replaceFile } from '../../host/atomic-file.ts';
import { homeFolder } from '../../host/folders.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { writeProblem } from '../../host/write-problem.ts';
import { hasCode } from '../../util/error-code.ts';
import { isObject, type JsonObject, stringAt } from '../json.ts';
import { DEFAULT_DOMAIN } from '../reference.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
  /** An identity token to use instead of a password. */
  readonly identityToken: string | undefined;
}

/** Key of Docker's own registry in the file. */
const DEFAULT_SERVER = 'https://index.docker.io/v1/';
/** The user name that helpers return with a token. */
const TOKEN_USERNAME = '<token>';
const HELPER_TIMEOUT_MS = 60_000;

export class CredentialStore {
  /** Undefined for a user without a home folder, who has no logins. */
  readonly path: string | undefined;

  constructor(env: NodeJS.ProcessEnv = process.env) {
    const home = homeFolder(env);
    const folder = env['DOCKER_CONFIG'] || (home && join(home, '.docker'));
    this.path = folder && join(folder, 'config.json');
  }

  /** The name of the file's entry for a registry. */
  static server(domain: string): string {
    return domain === DEFAULT_DOMAIN ? DEFAULT_SERVER : domain;
  }

  /** @throws TsvmError `invalid-config` when the file or a helper is at fault */
  get(domain: string): Credentials | undefined {
    const config = this.#read();
    const helper = helperFor(config, domain);
    if (helper !== undefined) return fromHelper(helper, CredentialStore.server(domain));
    const auths = isObject(config['auths']) ? config['auths'] : {};
    const key = Object.keys(auths).find((name) => hostOf(name) === hostOf(serverName(domain)));
    const entry = key === undefined ? undefined : auths[key];
    return isObject(entry) ? fromEntry(entry) : undefined;
  }

  /** @returns true if they are stored unencrypted in the file */
  set(domain: string, { username, password, identityToken }: Credentials): boolean {
    const config = this.#read();
    const helper = helperFor(config, domain);
    const server = CredentialStore.server(domain);
    if (helper !== undefined) {
      const ServerURL = server;
      const Username = identityToken === undefined ? username : TOKEN_USERNAME;
      const Secret = identityToken ?? password;
      callHelper(helper, 'store', JSON.stringify({ ServerURL, Username, Secret }));
      return false;
    }
    const auth = Buffer.from(`${username}:${password}`).toString('base64');
    const entry = identityToken === undefined ? { auth } : { auth, identitytoken: identityToken };
    const auths = isObject(config['auths']) ? config['auths'] : {};
    this.#write({ ...config, auths: { ...auths, [server]: entry } });
    return true;
  }

  /** @returns whether there were any in the file */
  remove(domain: string): boolean {
    const config = this.#read();
    const helper = helperFor(config, domain);
    if (helper !== undefined) callHelper(helper, 'erase', CredentialStore.server(domain));
    const auths = isObject(config['auths']) ? config['auths'] : {};
    const wanted = hostOf(serverName(domain));
    const rest = Object.entries(auths).filter(([name]) => hostOf(name) !== wanted);
    const had = rest.length < Object.keys(auths).length;
    if (had) this.#write({ ...config, auths: Object.fromEntries(rest) });
    return had || helper !== undefined;
  }

  #read(): JsonObject {
    if (this.path === undefined) return {};
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return {};
      const reason = error instanceof Error ? error.message : error;
      throw new TsvmError('file-unreadable', `${this.path} cannot be read: ${reason}`, {
        cause: error,
      });
    }
    if (text.trim() === '') return {};
    try {
      const config: unknown = JSON.parse(text);
      if (isObject(config)) return config;
    } catch {}
    throw new TsvmError('invalid-config', `${this.path} is not a JSON object: fix or remove it`);
  }

  /** Others read it meanwhile: it is replaced as a whole. A link to it stays one. */
  #write(config: JsonObject): void {
    if (this.path === undefined) {
      throw new TsvmError('invalid-config', 'no folder for logins: set HOME or DOCKER_CONFIG');
    }
    try {
      makeFolders(dirname(this.path), 0o700);
      replaceFile(realPath(this.path), `${JSON.stringify(config, undefined, '\t')}\n`);
    } catch (error) {
      throw new TsvmError(
        'file-unreadable',
        `the login cannot be saved in ${this.path} (${writeProblem(error)}): set DOCKER_CONFIG to use another folder`,
        { cause: error },
      );
    }
  }
}

/**
 * The login of a registry, for work that may need none. As Docker's client, this goes on without one when
 * the file or a helper is at fault.
 * @param warn told what is at fault
 */
export function storedCredentials(
  domain: string,
  env: NodeJS.ProcessEnv,
  warn: (message: string) => void,
): Credentials | undefined {
  try {
    return new CredentialStore(env).get(domain);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    warn(`Error loading config file: ${error.message}`);
    return undefined;
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function serverName(domain: string): string {
  return domain === DEFAULT_DOMAIN ? 'index.docker.io' : domain;
}

/** Entries are called by a host, or by a URL of it. */
function hostOf(server: string): string {
  return server.replace(/^https?:\/\//, '').split('/')[0] ?? '';
}

function helperFor(config: JsonObject, domain: string): string | undefined {
  const helpers = isObject(config['credHelpers']) ? config['credHelpers'] : {};
  const name = stringAt(helpers, serverName(domain)) ?? stringAt(helpers, domain);
  const helper = name ?? stringAt(config, 'credsStore');
  if (helper === undefined || helper === '') return undefined;
  if (/^[\w.-]+$/.test(helper)) return helper;
  throw new TsvmError(
    'invalid-config',
    `invalid name of a credential helper: ${JSON.stringify(helper)}`,
  );
}

function callHelper(helper: string, verb: string, input: string): string | undefined {
  const program = `docker-credential-${helper}`;
  const { error, status, stdout, stderr } = spawnSync(program, [verb], {
    input,
    encoding: 'utf8',
    timeout: HELPER_TIMEOUT_MS,
  });
  if (status === 0) return stdout;
  const said = `${stdout ?? ''}${stderr ?? ''}`.trim();
  if (/credentials not found/i.test(said)) return undefined;
  const reason = error?.message ?? said.slice(0, 500);
  throw new TsvmError('invalid-config', `the credential helper ${program} failed: ${reason}`);
}

function fromHelper(helper: string, server: string): Credentials | undefined {
  const answer = callHelper(helper, 'get', server);
  if (answer === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(answer);
  } catch {}
  if (!isObject(json)) {
    throw new TsvmError('invalid-config', `docker-credential-${helper} did not print JSON`);
  }
  const username = stringAt(json, 'Username') ?? '';
  const secret = stringAt(json, 'Secret') ?? '';
  const isToken = username === TOKEN_USERNAME;
  return { username, password: isToken ? '' : secret, identityToken: isToken ? secret : undefined };
}

function fromEntry(entry: JsonObject): Credentials | undefined {
  const auth = Buffer.from(stringAt(entry, 'auth') ?? '', 'base64').toString('utf8');
  const colon = auth.indexOf(':');
  const identityToken = stringAt(entry, 'identitytoken') || undefined;
  if (colon < 0) {
    const username = stringAt(entry, 'username');
    if (username === undefined && identityToken === undefined) return undefined;
    const password = stringAt(entry, 'password') ?? '';
    return { username: username ?? '', password, identityToken };
  }
  return { username: auth.slice(0, colon), password: auth.slice(colon + 1), identityToken };
}
