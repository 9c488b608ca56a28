/**
 * Docker's client as an oracle: it translates a command line to an API request, which a fake daemon
 * records.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** The parts of Docker's request to create a container that tests check. */
export interface CreateRequest {
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly HostConfig: {
    readonly Binds: readonly string[] | null;
    readonly Mounts?: readonly DockerMount[];
    readonly Tmpfs?: Readonly<Record<string, string>>;
    readonly PortBindings: Readonly<
      Record<string, readonly { HostIp: string; HostPort: string }[]>
    >;
    readonly PublishAllPorts?: boolean;
    readonly ExtraHosts: readonly string[] | null;
    readonly Dns: readonly string[];
    readonly DnsOptions: readonly string[];
    readonly DnsSearch: readonly string[];
    readonly NetworkMode: string;
  };
  readonly NetworkingConfig: {
    readonly EndpointsConfig: Readonly<Record<string, DockerEndpoint>>;
  };
}

export interface DockerMount {
  readonly Type: string;
  readonly Source?: string;
  readonly Target: string;
  readonly ReadOnly?: boolean;
  readonly BindOptions?: { readonly Propagation?: string };
  readonly VolumeOptions?: {
    readonly NoCopy?: boolean;
    readonly Subpath?: string;
    readonly Labels?: Readonly<Record<string, string>>;
  };
  readonly TmpfsOptions?: { readonly SizeBytes?: number; readonly Mode?: number };
}

export interface DockerEndpoint {
  readonly Aliases: readonly string[] | null;
  readonly MacAddress: string;
  readonly IPAMConfig: { readonly IPv4Address?: string; readonly IPv6Address?: string } | null;
}

export type ClientResult = { readonly request: CreateRequest } | { readonly message: string };

export interface DockerClient {
  /** Runs `docker create ARGS... image` in the folder. */
  create(args: readonly string[]): Promise<ClientResult>;
}

/** The oldest client that has the messages and flags that the tests expect. */
export const VERSION_MIN = 28;

/** Undefined if there is no such client; the test is then skipped with the reason. */
export async function dockerClient(
  t: TestContext,
  folder: string,
): Promise<DockerClient | undefined> {
  const version = clientVersion();
  if (version < VERSION_MIN) {
    t.skip(`needs Docker's client of version ${VERSION_MIN}`);
    return undefined;
  }
  const path = join(folder, 'engine.sock');
  let last: CreateRequest | undefined;
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.once('end', () => {
      response.setHeader('Api-Version', '1.51').setHeader('Ostype', 'linux');
      const isCreate = request.url?.includes('/containers/create') === true;
      if (isCreate) last = JSON.parse(body);
      response.setHeader('Content-Type', 'application/json');
      response.statusCode = isCreate ? 201 : 200;
      response.end(JSON.stringify(isCreate ? { Id: 'a'.repeat(64), Warnings: [] } : 'OK'));
    });
  });
  server.listen(path);
  t.after(() => server.close());
  return {
    create: async (args) => {
      last = undefined;
      const words = ['-H', `unix://${path}`, 'create', ...args, 'image'];
      const child = spawn('docker', words, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] });
      let text = '';
      child.stderr.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      await new Promise((resolve) => child.once('close', resolve));
      if (last !== undefined) return { request: last };
      return { message: (text.split('\n')[0] ?? '').replace(/^docker: /, '') };
    },
  };
}

/** The major version of Docker's client; 0: there is none. */
export function clientVersion(): number {
  try {
    const text = execFileSync('docker', ['--version'], { encoding: 'utf8', stdio: 'pipe' });
    return Number(/version (\d+)/.exec(text)?.[1] ?? 0);
  } catch {
    return 0;
  }
}
