/** Debian's docker-registry on loopback, for the duration of a test. */
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './tsvm-process.ts';
import { until } from './until.ts';

export interface RunningRegistry {
  /** `localhost:PORT`. */
  readonly host: string;
  /** With TLS: the self-signed certificate. */
  readonly ca: string | undefined;
  readonly folder: string;
}

export const REGISTRY_USER = 'tester';
export const REGISTRY_PASSWORD = 'pass:wörd';

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
  const certificate = options.tls ? makeCertificate(folder) : undefined;
  const config: Record<string, object | string> = {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: join(folder, 'data') }, delete: { enabled: true } },
    http: {
      addr: '127.0.0.1:0',
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
  // A file, because tests that wait for skopeo would read no pipe meanwhile.
  const logPath = join(folder, 'log');
  const log = openSync(logPath, 'w');
  const child = spawn('docker-registry', ['serve', configPath], {
    stdio: ['ignore', 'ignore', log],
  });
  closeSync(log);
  test.after(() => {
    child.kill('SIGKILL');
  });
  let port: string | undefined;
  await until('docker-registry listens', () => {
    const text = readFileSync(logPath, 'utf8');
    if (child.exitCode !== null) throw new Error(`docker-registry does not start:\n${text}`);
    [, port] = /listening on 127\.0\.0\.1:(\d+)/.exec(text) ?? [];
    return port !== undefined;
  });
  return { host: `localhost:${port}`, ca: certificate?.cert, folder };
}
