import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Longer than any sample takes on a busy machine. */
const TIMEOUT_MS = 300_000;

export interface ProcessRun {
  /** Milliseconds from just before the fork until the first byte on stdout. */
  readonly firstByteMs: number | undefined;
  /** Milliseconds until the process had exited. */
  readonly endMs: number;
  readonly stdout: string;
}

/** A program to run, and its arguments. */
export type Command = readonly [string, ...string[]];

interface Started {
  readonly child: ChildProcess;
  readonly startMs: number;
  readonly output: { stdout: string; stderr: string; firstByteMs: number | undefined };
}

function start(command: Command): Started {
  const [program, ...programArguments] = command;
  const output = { stdout: '', stderr: '', firstByteMs: undefined as number | undefined };
  const startMs = performance.now();
  const child = spawn(program, programArguments, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    output.firstByteMs ??= performance.now() - startMs;
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  return { child, startMs, output };
}

function failure(command: Command, what: string, { stdout, stderr }: Started['output']): Error {
  return new Error(`${command[0]} ${what}: ${(stderr || stdout).trim().slice(0, 500)}`);
}

/** Runs a program to its end. Rejects unless the exit code is 0. */
export async function runProcess(command: Command): Promise<ProcessRun> {
  const { child, startMs, output } = start(command);
  const [code, signal] = await once(child, 'close');
  const endMs = performance.now() - startMs;
  if (code !== 0) throw failure(command, `ended with ${signal ?? code}`, output);
  return { firstByteMs: output.firstByteMs, endMs, stdout: output.stdout };
}

/** Seconds of processor time of a program and its children, which runs to its end as {@link runProcess} does. */
export async function cpuSeconds(command: Command): Promise<number> {
  const script = 'TIMEFORMAT="cpu %U %S"; { time "$@"; } 2>&1';
  const { stdout } = await runProcess(['bash', '-c', script, 'bash', ...command]);
  const [, user, system] = /^cpu (\S+) (\S+)$/m.exec(stdout) ?? [];
  return Number(user) + Number(system);
}

export interface NotedRun {
  /** Milliseconds from just before the fork until the output contained the text. */
  readonly notedMs: number;
  readonly stdout: string;
}

/** Runs a program to its end, and measures when its output first contains `text`. */
export async function runNoting(command: Command, text: string): Promise<NotedRun> {
  const { child, startMs, output } = start(command);
  let notedMs: number | undefined;
  child.stdout?.on('data', () => {
    if (notedMs === undefined && output.stdout.includes(text))
      notedMs = performance.now() - startMs;
  });
  const [code, signal] = await once(child, 'close');
  if (code !== 0 || notedMs === undefined) {
    throw failure(command, `ended with ${signal ?? code}`, output);
  }
  return { notedMs, stdout: output.stdout };
}

/** Runs a program until its output contains `text`, then calls `look` with its PID and ends it. */
export async function runUntil<T>(
  command: Command,
  text: string,
  look: (pid: number) => T | Promise<T>,
): Promise<T> {
  const { child, output } = start(command);
  const closed = once(child, 'close');
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', () => {
        if (output.stdout.includes(text)) resolve();
      });
      closed.then(() => reject(failure(command, 'ended early', output)), reject);
    });
    return await look(child.pid ?? 0);
  } finally {
    child.kill('SIGKILL');
    await closed;
  }
}
