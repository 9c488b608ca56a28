/** qemu-img, the oracle for image files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';

export interface QemuImgResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `qemu-img ARGS...` to its end, whether it succeeds or not. */
export function qemuImg(...args: readonly string[]): Promise<QemuImgResult> {
  return qemuImgIn(undefined, args);
}

/**
 * @param folder working directory: QEMU takes the relative name of an external data file as relative to
 * it
 */
async function qemuImgIn(
  folder: string | undefined,
  args: readonly string[],
): Promise<QemuImgResult> {
  const child = spawn('qemu-img', args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (code === null) throw new Error(`qemu-img ${args.join(' ')}: ended by ${signal}`);
  return { code, stdout, stderr };
}

/** Returns the output of a command; throws if it fails. */
export function qemuImgOutput(...args: readonly string[]): Promise<string> {
  return qemuImgOutputIn(undefined, ...args);
}

/** Like {@link qemuImgOutput}, in a folder. */
export async function qemuImgOutputIn(
  folder: string | undefined,
  ...args: readonly string[]
): Promise<string> {
  const { code, stdout, stderr } = await qemuImgIn(folder, args);
  if (code !== 0) throw new Error(`qemu-img ${args.join(' ')}: code ${code}: ${stdout}${stderr}`);
  return stdout;
}

/** Counts of `qemu-img check --output=json`; missing ones are 0. */
export interface QemuCheck {
  readonly corruptions: number;
  readonly leaks: number;
  readonly checkErrors: number;
  readonly allocatedClusters: number;
  readonly compressedClusters: number;
  readonly fragmentedClusters: number;
  readonly imageEndOffset: number;
  /** The complete output, for messages. */
  readonly text: string;
}

/** @throws if the image cannot be opened */
export async function qemuCheck(path: string): Promise<QemuCheck> {
  const args = ['check', '-f', 'qcow2', '--output=json', path];
  const { stdout, stderr } = await qemuImgIn(dirname(path), args);
  const json = stdout.slice(stdout.indexOf('\n{') + 1);
  if (!json.startsWith('{')) throw new Error(`qemu-img check ${path}: ${stdout}${stderr}`);
  const fields = JSON.parse(json) as Readonly<Record<string, number | undefined>>;
  return {
    corruptions: fields['corruptions'] ?? 0,
    leaks: fields['leaks'] ?? 0,
    checkErrors: fields['check-errors'] ?? 0,
    allocatedClusters: fields['allocated-clusters'] ?? 0,
    compressedClusters: fields['compressed-clusters'] ?? 0,
    fragmentedClusters: fields['fragmented-clusters'] ?? 0,
    imageEndOffset: fields['image-end-offset'] ?? 0,
    text: stdout + stderr,
  };
}

/** An entry of `qemu-img map --output=json`. */
export interface QemuMapEntry {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly offset?: number;
}

export async function qemuMap(path: string): Promise<QemuMapEntry[]> {
  return JSON.parse(
    await qemuImgOutputIn(dirname(path), 'map', '-f', 'qcow2', '--output=json', path),
  );
}
