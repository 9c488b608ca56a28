/** Options of `--tmpfs`, as Docker checks them; their meaning is that of mount(8) and tmpfs(5). */
import { TsvmError } from '../../errors.ts';
import { parseSize } from '../../util/size.ts';
import type { TmpfsMount } from '../agent/agent.ts';

type AgentOption = NonNullable<TmpfsMount['options']>[number];

const AGENT_OPTIONS: readonly string[] = ['exec', 'suid', 'dev', 'noexec', 'nosuid', 'nodev'];
/** Flags that change nothing here. */
const IGNORED = [
  ...['rw', 'defaults', 'relatime', 'norelatime', 'atime', 'noatime', 'diratime', 'nodiratime'],
  ...['strictatime', 'nostrictatime', 'async', 'sync', 'dirsync', 'mand', 'nomand'],
];
/** Docker passes these on; the agent has no use for them. */
const UNSUPPORTED = ['mpol'];
/** tmpfs counts its blocks in pages. */
const BLOCK_BYTES = 4096;

/** What the agent mounts. */
export interface TmpfsSettings {
  readonly readOnly: boolean;
  readonly sizeBytes: number | undefined;
  /** Of the machine's memory, instead of `sizeBytes`. */
  readonly sizePercent: number | undefined;
  readonly inodes: number | undefined;
  readonly mode: number | undefined;
  readonly userId: number | undefined;
  readonly groupId: number | undefined;
  readonly options: readonly AgentOption[];
}

/** @throws TsvmError `invalid-container` */
export function parseTmpfsOptions(text: string): TmpfsSettings {
  let size: TmpfsSize = {};
  let inodes: number | undefined;
  let mode: number | undefined;
  let userId: number | undefined;
  let groupId: number | undefined;
  let readOnly = false;
  const options: AgentOption[] = [];
  for (const option of text.split(',').filter((word) => word !== '')) {
    const [name = '', value] = option.split(/=(.*)/s);
    if (value === undefined) {
      if (option === 'ro') readOnly = true;
      else if (AGENT_OPTIONS.includes(option)) options.push(option as AgentOption);
      else if (!IGNORED.includes(option)) throw refused(option.split('='));
    } else if (name === 'size') {
      size = parseTmpfsSize(option, value);
    } else if (name === 'nr_blocks') {
      size = { sizeBytes: parseCount(option, value) * BLOCK_BYTES };
    } else if (name === 'nr_inodes') {
      inodes = parseCount(option, value);
    } else if (name === 'mode') {
      mode = /^[0-7]{1,4}$/.test(value) ? Number.parseInt(value, 8) : undefined;
      if (mode === undefined) throw unsupported(option, 'give an octal number such as 1777');
    } else if (name === 'uid') {
      userId = parseId(option, value);
    } else if (name === 'gid') {
      groupId = parseId(option, value);
    } else if (UNSUPPORTED.includes(name)) {
      throw unsupported(option, 'it is not supported');
    } else {
      throw refused([name, value]);
    }
  }
  const { sizeBytes, sizePercent } = size;
  return { readOnly, sizeBytes, sizePercent, inodes, mode, userId, groupId, options };
}

interface TmpfsSize {
  readonly sizeBytes?: number;
  readonly sizePercent?: number;
}

function parseTmpfsSize(option: string, value: string): TmpfsSize {
  const percent = /^(\d{1,3})%$/.exec(value)?.[1];
  if (percent !== undefined) {
    const sizePercent = Number(percent);
    if (sizePercent >= 1 && sizePercent <= 100) return { sizePercent };
    throw unsupported(option, 'give 1% to 100% of the memory');
  }
  const sizeBytes = parseSize(value, 1);
  if (sizeBytes !== undefined) return { sizeBytes };
  throw unsupported(option, 'give bytes, a number with k, m or g, or a percentage of the memory');
}

function parseCount(option: string, text: string): number {
  const count = parseSize(text, 1);
  if (count !== undefined && count >= 1) return count;
  throw unsupported(option, 'give a number, with k, m or g if you like');
}

function parseId(option: string, text: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  // The last number of 32 bits stands for no user.
  if (id < 2 ** 32 - 1) return id;
  throw unsupported(option, 'give the number of a user or group');
}

/** Docker's message, with the list as Go prints it. */
function refused(words: readonly string[]): TsvmError {
  const list = words.map((word) => JSON.stringify(word)).join(' ');
  return new TsvmError('invalid-container', `Invalid tmpfs option [${list}]`);
}

function unsupported(option: string, why: string): TsvmError {
  return new TsvmError('invalid-container', `tmpfs option "${option}": ${why}`);
}
