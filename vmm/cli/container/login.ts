import { createInterface } from 'node:readline/promises';
import { DEFAULT_DOMAIN } from '../../container/reference.ts';
import { CredentialStore } from '../../container/registry/credentials.ts';
import { openRegistry } from '../../container/registry/registry-client.ts';
import { TsvmError } from '../../errors.ts';
import { interruptible } from '../image/interrupt.ts';
import { isTerminal } from '../output-descriptor.ts';
import { standardInput } from '../standard-input.ts';
import { printMessage } from '../standard-streams.ts';
import { flag, text } from './option-values.ts';
import { explained } from './pull.ts';
import { readHidden } from './read-hidden.ts';
import { type Verb, warnUser, writeLine } from './verb.ts';

const STDIN = 0;

export const loginVerb: Verb = {
  usage: 'login [OPTIONS] [SERVER]',
  argumentsMin: 0,
  argumentsMax: 1,
  help: `
Credentials are stored in ~/.docker/config.json, or in the credential helper configured there. docker,
podman and skopeo share them.

Examples:
  tsvm login registry.example
  tsvm login -u me --password-stdin localhost:5000 < password`,
  addOptions: (command) =>
    command
      .option('-u, --username <name>', 'user name')
      .option('-p, --password <password>', 'password or token, visible to all users of this host')
      .option('--password-stdin', 'read the password from STDIN')
      .option('--insecure', 'allow plain HTTP and unknown certificates'),
  run: async ([server], options) => {
    const domain = domainOf(server);
    const username = text(options, 'username');
    const given = text(options, 'password');
    const fromStdin = flag(options, 'passwordStdin');
    if (given !== undefined) {
      printMessage('WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n');
      if (fromStdin) {
        throw new TsvmError(
          'invalid-config',
          '--password and --password-stdin are mutually exclusive',
        );
      }
    }
    if (fromStdin && username === undefined) {
      throw new TsvmError(
        'invalid-config',
        'the --password-stdin option requires --username to be set',
      );
    }
    return await interruptible(async (signal) => {
      const user = username ?? (await ask('Username: ', signal));
      const password = fromStdin
        ? (await readAll(standardInput())).replace(/\r?\n$/, '')
        : (given ?? (await readHidden('Password: ')));
      if (user === '' || password === '') {
        throw new TsvmError('invalid-config', 'username and password are required');
      }
      const credentials = { username: user, password, identityToken: undefined };
      const access = { insecure: flag(options, 'insecure'), warn: warnUser };
      const client = openRegistry(domain, access, credentials);
      try {
        await client.checkLogin(signal);
      } catch (error) {
        const told = error instanceof TsvmError ? error : explained(error, noReference(domain));
        if (!(told instanceof TsvmError) || told.code !== 'registry-denied') throw told;
        const url = `https://${client.host}/v2/`;
        throw new TsvmError(
          'registry-denied',
          `Get "${url}": unauthorized: incorrect username or password`,
          { cause: error },
        );
      } finally {
        await client.close();
      }
      const store = new CredentialStore();
      if (store.set(domain, credentials)) {
        printMessage(
          `\nWARNING! Your credentials are stored unencrypted in '${store.path}'.\n` +
            'A credential helper ("credsStore" in that file) keeps them safer.\n\n',
        );
      }
      writeLine('Login Succeeded');
      return 0;
    });
  },
};

function noReference(domain: string) {
  return { domain, path: '', tag: undefined, digest: undefined };
}

/** A host, as people write it or as a URL. */
export function domainOf(server = DEFAULT_DOMAIN): string {
  const host = server.replace(/^https?:\/\//, '').split('/')[0] ?? '';
  if (/^(?:index\.|registry-1\.)?docker\.io$/.test(host)) return DEFAULT_DOMAIN;
  if (host !== '') return host;
  throw new TsvmError('invalid-config', `"${server}" is not a registry`);
}

async function ask(prompt: string, signal: AbortSignal): Promise<string> {
  if (!isTerminal(STDIN)) {
    throw new TsvmError(
      'invalid-config',
      'Error: Cannot perform an interactive login from a non TTY device',
    );
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await lines.question(prompt, { signal })).trim();
  } finally {
    lines.close();
  }
}

async function readAll(input: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
