import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { temporaryFolder } from './tsvm-process.ts';

/** An address of the namespace. */
export const HOST_ADDRESS = '198.51.100.2';

/** An interface with a default route, without anything at its other end. */
const UPLINK = `
ip link add uplink type veth peer name router
ip link set router up
ip link set uplink up
ip address add ${HOST_ADDRESS}/24 dev uplink
ip route add default via 198.51.100.1
`;

/** Options of a test that needs a network namespace. */
export const NEEDS_ROOT = {
  skip: process.getuid?.() === 0 ? false : 'network namespaces and tap devices need root',
};

export interface NetworkNamespaceOptions {
  /** Shell commands to run after the interfaces have been created. */
  readonly setup?: string;
  /** Without the interface with the default route. */
  readonly isolated?: boolean;
  /** The name server in /etc/resolv.conf. */
  readonly nameServer?: string;
}

/**
 * A network and mount namespace, so that tests neither depend on the host's network nor change it. It
 * exists as long as the test, however that ends. Needs root.
 */
export class NetworkNamespace {
  /** A command line that runs another command in the namespace. */
  readonly enter: readonly string[];

  private constructor(pid: number) {
    this.enter = ['nsenter', '-t', String(pid), '-n', '-m', '--'];
  }

  static async create(
    test: TestContext,
    { setup = '', isolated = false, nameServer = '198.51.100.53' }: NetworkNamespaceOptions = {},
  ): Promise<NetworkNamespace> {
    const resolvConf = join(temporaryFolder(test), 'resolv.conf');
    writeFileSync(resolvConf, `nameserver ${nameServer}\n`);
    const script = `set -e; ip link set lo up; ${isolated ? '' : UPLINK} ${setup}
      [ ! -e /etc/resolv.conf ] || mount --bind ${resolvConf} /etc/resolv.conf; echo ready; exec cat >/dev/null`;
    // It ends when its input is closed, or when this process ends.
    const holder = spawn('unshare', ['-n', '-m', 'sh', '-c', script], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    test.after(async () => {
      holder.stdin.end();
      if (holder.exitCode === null && holder.signalCode === null) await once(holder, 'exit');
    });
    const ready = once(holder.stdout, 'data').then(() => true);
    const failed = once(holder, 'exit').then(() => false);
    if (!(await Promise.race([ready, failed])) || holder.pid === undefined) {
      throw new Error('the network namespace cannot be set up (see above)');
    }
    return new NetworkNamespace(holder.pid);
  }

  /** Runs a command to its end. @returns its standard output; rejects if it fails */
  async run(command: readonly string[], input: string | Uint8Array = ''): Promise<string> {
    const [program = '', ...args] = [...this.enter, ...command];
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const output = child.stdout.setEncoding('latin1').toArray();
    const [code] = (await once(child, 'close')) as [number | null];
    if (code !== 0) throw new Error(`${command.join(' ')}: exit code ${code}`);
    return (await output).join('');
  }

  /** Starts a command that is ended with the test. */
  start(test: TestContext, ...command: readonly string[]): ChildProcess {
    const [program = '', ...args] = [...this.enter, ...command];
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    test.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    return child;
  }
}
