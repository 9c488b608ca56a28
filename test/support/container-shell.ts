/** A store with a busybox image, and a shell whose `tsvm` uses it, for tests of containers. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { isMachineAlive } from '../../vmm/api/machines/machine-folder.ts';
import { busyboxMembers } from './agent-guest.ts';
import { makeImage, writeLayout } from './image-maker.ts';
import { type MadeMember, makeTar } from './tar-maker.ts';
import { TerminalSession } from './terminal-session.ts';
import { TSVM } from './tsvm-process.ts';

export interface ShellResult {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + N if signal N ended the shell. */
  readonly code: number;
}

export interface ShellOptions {
  readonly input?: string | Uint8Array;
  readonly timeoutMs?: number;
  /** Further variables. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Of a line of a few commands, which take a second each, on a host that is busy. */
const PATIENCE_MS = 180_000;
/** It boots a machine, with a low priority. */
export const TEMPLATE_PATIENCE_MS = 600_000;

/** Call `close` when all tests have ended. */
export class ContainerShell {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvm-containers-'));
  readonly env: NodeJS.ProcessEnv;
  readonly data = join(this.folder, 'data');
  readonly runtime = join(this.folder, 'run');

  constructor() {
    const bin = join(this.folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'tsvm'), `#!/bin/sh\nexec ${TSVM} "$@"\n`, { mode: 0o755 });
    this.env = {
      ...process.env,
      TSVM_DATA_FOLDER: this.data,
      TSVM_RUNTIME_FOLDER: this.runtime,
      TZ: 'UTC',
      PATH: `${bin}:${process.env['PATH']}`,
    };
  }

  /** Adds a busybox image with additional files and this configuration. */
  addImage(name: string, run: object = {}, members: readonly MadeMember[] = []): void {
    const layout = join(this.folder, 'layout');
    mkdirSync(layout);
    const image = makeImage({
      layers: [makeTar(busyboxMembers(members))],
      run: { Cmd: ['sh'], ...run },
      created: new Date(Date.now() - 3_600_000).toISOString(),
    });
    writeLayout(layout, image);
    const line = `tsvm load -q -i layout && tsvm tag ${image.config} ${name}`;
    const { status, stderr } = spawnSync('sh', ['-c', line], { env: this.env, cwd: this.folder });
    rmSync(layout, { recursive: true });
    if (status !== 0) throw new Error(`the image cannot be loaded: ${stderr}`);
  }

  /** Runs a shell command line. */
  async sh(
    line: string,
    { env = {}, input = '', timeoutMs = PATIENCE_MS }: ShellOptions = {},
  ): Promise<ShellResult> {
    const child = spawn('sh', ['-c', line], {
      env: { ...this.env, ...env },
      cwd: this.folder,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const output = Promise.all([
      child.stdout.setEncoding('utf8').toArray(),
      child.stderr.setEncoding('utf8').toArray(),
    ]);
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    clearTimeout(timer);
    const [stdout, stderr] = (await output).map((pieces) => pieces.join(''));
    if (signal === 'SIGKILL') {
      throw new Error(`killed after ${timeoutMs} ms: ${line}\n${stdout}\n${stderr}`);
    }
    return { stdout: stdout ?? '', stderr: stderr ?? '', code: code ?? 255 };
  }

  /** Like `run`, but a failure fails the test. @returns standard output */
  async ok(line: string, options?: ShellOptions): Promise<string> {
    const { code, stderr, stdout } = await this.sh(line, options);
    if (code === 0) return stdout;
    throw new Error(`${line}: exit code ${code}\n${stdout}\n${stderr}`);
  }

  /** Runs a command in a new terminal. */
  terminal(test: TestContext, command: string): TerminalSession {
    return new TerminalSession(test, `exec ${command}`, this.env);
  }

  /** Waits until a command line succeeds and its output matches. */
  async until(line: string, pattern: RegExp, timeoutMs = PATIENCE_MS): Promise<string> {
    const endMs = performance.now() + timeoutMs;
    for (;;) {
      const { stdout, stderr } = await this.sh(line);
      if (pattern.test(stdout)) return stdout;
      if (performance.now() > endMs) {
        throw new Error(`${line}: never ${pattern}, but\n${stdout}\n${stderr}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits until a program in a container listens on a TCP port. */
  async untilListening(name: string, port: number): Promise<void> {
    await this.until(`tsvm exec ${name} netstat -tln`, new RegExp(`:${port} `));
  }

  /** The processes that run containers. */
  supervisors(): string[] {
    try {
      return readdirSync(join(this.runtime, 'containers'));
    } catch {
      return [];
    }
  }

  /** Kills the supervisors of running containers with SIGKILL, and waits until they have ended. */
  async killSupervisors(...names: string[]): Promise<void> {
    const format = '{{.State.Pid}} {{.Id}}';
    const shown = await this.ok(`tsvm inspect -f '${format}' ${names.join(' ')}`);
    const supervisors = shown.trimEnd().split('\n');
    for (const supervisor of supervisors) process.kill(Number.parseInt(supervisor, 10), 'SIGKILL');
    // The kernel takes a moment to end a process with a machine. Its lock is what it gives up last.
    for (const supervisor of supervisors) {
      const [, id = ''] = supervisor.split(' ');
      await untilTrue(
        () => !isMachineAlive(join(this.runtime, 'containers', id)),
        () => `the supervisor of ${id} does not end`,
      );
    }
  }

  /** Removes everything. @throws Error when a container is left */
  async close(): Promise<void> {
    try {
      const left = await this.ok('tsvm ps -aq');
      if (left !== '') await this.sh(`tsvm rm -f ${left.split('\n').join(' ')}`);
      await untilTrue(
        () => this.supervisors().length === 0,
        () => `still there: ${this.supervisors().join(' ')}`,
      );
      // The last container may have left a process that makes a template, in a cache in the folder.
      await untilTrue(
        () => processesOf(this.folder).length === 0,
        () => `still there: ${processesOf(this.folder).join(', ')}`,
        TEMPLATE_PATIENCE_MS,
      );
    } finally {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }
}

/** Waits for something that nobody tells. @throws Error with the problem if it is late */
export async function untilTrue(
  holds: () => boolean,
  problem: () => string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(problem());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Processes whose environment names a folder, with their command lines. */
function processesOf(folder: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`${folder}/`)) return [];
      return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')}`];
    } catch {
      // It has ended, or is another user's.
      return [];
    }
  });
}
