/** Debian's docker-registry on loopback, for the duration of a test. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder } from './tsvm-process.ts';

export interface RunningRegistry {
  /** `localhost:PORT`. */
  readonly host: string;
  /** With TLS: the self-signed certificate. */
  readonly ca: string | undefined;
  readonly folder: string;
}

export const REGISTRY_USER = 'tester';
export const REGISTRY_PASSWORD = 'pass:wörd';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** A self-signed certificate for localhost. */
export function makeCertificate(folder: string): { readonly cert: string; readonly key: string } {
  const cert = join(folder, 'cert.pem');
  const key = join(folder, 'key.pem');
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const files = ['-nodes', '-days', '2', '-keyout', key, '-out', cert];
  execFileSync('openssl', [...words, ...name, ...files], { stdio: 'pipe' });
  return { cert, key };
}

export async function startRegistry(
  test: Pick<TestContext, 'after'>,
  options: { readonly tls?: boolean; readonly login?: boolean } = {},
): Promise<RunningRegistry> {
  const folder = temporaryFolder(test as TestContext);
  const port = await freePort();
  const certificate = options.tls ? makeCertificate(folder) : undefined;
  const config: Record<string, object | string> = {
    version: '0.1',
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: true } },
    http: {
      addr: `127.0.0.1:${port}`,
      ...(certificate && { tls: { certificate: certificate.cert, key: certificate.key } }),
    },
  };
  if (options.login) {
    const path = join(folder, 'htpasswd');
    const made = execFileSync('htpasswd', ['-Bbn', REGISTRY_USER, REGISTRY_PASSWORD]);
    writeFileSync(path, made);
    config['auth'] = { htpasswd: { realm: 'test', path } };
  }
  mkdirSync(join(folder, 'data'));
  const configPath = join(folder, 'config.yml');
  // YAML includes JSON.
  writeFileSync(configPath, JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', configPath], { stdio: 'ignore' });
  test.after(() => {
    child.kill('SIGKILL');
  });
  for (let tries = 0; tries < 200; tries++) {
    const up = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (up) return { host: `localhost:${port}`, ca: certificate?.cert, folder };
    await sleep(50);
  }
  throw new Error('docker-registry does not start');
}
