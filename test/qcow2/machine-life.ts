/** One life of a machine under load, up to its kill. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PAYLOAD, TSVM } from '../support/tsvm-process.ts';
import { loadWords, type MachineLoad } from './machine-load.ts';
import { Mismatch } from './mismatch.ts';

/**
 * Time limit from the guest's hello on: on a slow host the guest is killed before it gets so far.
 * Emulated hosts set a longer one.
 */
const LIFE_MS_MAX = Number(process.env['TSVM_QCOW2_LIFE_MS'] ?? 300);
/** Time limit without a hello. */
const START_MS_MAX = 30_000;

export interface KillMoment {
  /** Number of reported flushes before the kill; 0 for the hello… */
  readonly flushes: number;
  /** …and the delay after that. */
  readonly delayMs: number;
  /** Delay after the start of the process, whatever it has reported. */
  readonly processMs?: number | undefined;
}

export interface MachineLife {
  /** The last step reported to the guest as flushed; its first step minus one if there is none. */
  readonly flushed: number;
  readonly flushes: number;
  /** It had finished when it was killed. */
  readonly isFinished: boolean;
}

/**
 * @param disk as `--disk` takes it
 * @throws Mismatch when the machine ends by itself, or its guest reports an error
 */
export async function liveUntilKilled(
  disk: string,
  cpus: number,
  load: MachineLoad,
  moment: KillMoment,
): Promise<MachineLife> {
  const words = `${loadWords(load)} exit=hlt`;
  const machine = ['--acpi', 'off', '--cpus', String(cpus), '--memory', '32M'];
  const child = spawn(
    TSVM,
    ['boot', '--kernel', PAYLOAD, ...machine, '--disk', disk, '--append', words],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const kill = () => child.kill('SIGKILL');
  const timers = [setTimeout(kill, moment.processMs ?? START_MS_MAX)];
  let said = '';
  let complained = '';
  let isUp = false;
  let hasCome = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (!isUp && said.includes('payload: hello')) {
      isUp = true;
      timers.push(setTimeout(kill, LIFE_MS_MAX));
    }
    if (isUp && !hasCome && said.split('\nflushed ').length > moment.flushes) {
      hasCome = true;
      timers.push(setTimeout(kill, moment.delayMs));
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complained += text;
  });
  const [, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  for (const timer of timers) clearTimeout(timer);
  const isLate = !isUp && moment.processMs === undefined;
  if (signal !== 'SIGKILL' || isLate || /^(not ok|skip|fatal)/m.test(said)) {
    throw new Mismatch(`the machine went wrong by itself: ${said.slice(-500)}\n${complained}`);
  }
  // The last line may have been cut by the kill.
  const flushed = [...said.matchAll(/^flushed (\d+)\r?\n/gm)].map(([, number]) => Number(number));
  return {
    flushed: flushed.at(-1) ?? load.first - 1,
    flushes: flushed.length,
    isFinished: /^done /m.test(said),
  };
}
