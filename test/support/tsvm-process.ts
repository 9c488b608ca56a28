/** Runs the command as a user does, and returns its result. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { packageRoot } from '../../vmm/util/package-root.ts';

export const TSVM = join(packageRoot(), 'bin/tsvm');
export const PAYLOAD = join(packageRoot(), 'build/payload/payload.elf');

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Undefined if a signal ended the process. */
  readonly code: number | undefined;
}

/** Time limit of a run: an emulated host on a busy machine is a hundred times slower. */
const PATIENCE_MS = 300_000;

export interface RunOptions {
  /** Standard input; default: empty. */
  readonly input?: string | Uint8Array;
  /** After this time the process is killed, and the run fails. */
  readonly timeoutMs?: number;
  /** Called when the process has started, for example to send it a signal. */
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with all standard output so far, whenever there is more. */
  readonly onStdout?: (text: string, child: ChildProcess) => void;
  readonly env?: Readonly<Record<string, string>>;
  /** A command line that runs the process, for example in a namespace. */
  readonly through?: readonly string[];
}

/** Runs `tsvm ARGS...` to its end. */
export async function runTsvm(
  args: readonly string[],
  { input = '', timeoutMs = PATIENCE_MS, onStart, onStdout, env, through = [] }: RunOptions = {},
): Promise<RunResult> {
  const [program = TSVM, ...words] = [...through, TSVM, ...args];
  const child = spawn(program, words, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onStdout?.(stdout, child);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  // A guest that ends before it has read all input closes the pipe.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  onStart?.(child);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  if (signal === 'SIGKILL') {
    throw new Error(`tsvm ${args.join(' ')}: killed after ${timeoutMs} ms\n${stdout}\n${stderr}`);
  }
  return { stdout, stderr, code: code ?? undefined };
}

/** Runs the payload with these words as its command line. */
export function runPayload(
  words: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  return runTsvm(
    ['boot', '--kernel', PAYLOAD, '--acpi', 'off', '--append', words, ...args],
    options,
  );
}

/**
 * Runs a shell script in a temporary folder, with `$TSVM` and `$PAYLOAD` set. For what a user's shell
 * sets up: redirections, limits, named pipes, signals.
 */
export async function runShell(script: string, timeoutMs = PATIENCE_MS): Promise<RunResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-shell-'));
  // In a separate process group, so that processes that the script leaves are ended too.
  const child = spawn('/bin/sh', ['-c', script], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TSVM, PAYLOAD },
    detached: true,
  });
  const endGroup = () => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {}
  };
  const timer = setTimeout(endGroup, timeoutMs);
  const [stdout, stderr, [code]] = await Promise.all([
    child.stdout.setEncoding('utf8').toArray(),
    child.stderr.setEncoding('utf8').toArray(),
    once(child, 'exit').finally(endGroup),
  ]);
  clearTimeout(timer);
  rmSync(folder, { recursive: true, force: true });
  return { stdout: stdout.join(''), stderr: stderr.join(''), code: code ?? undefined };
}

/** A folder that is removed when the test ends. */
export function temporaryFolder(test: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-test-'));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
