import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { runProcess } from './process.ts';

const MIB = 2 ** 20;
const DISK_MIB = 256;

/** Programs and files that the benchmarks use. */
export interface Workbench {
  readonly root: string;
  readonly payload: string;
  readonly bareKvmRun: string;
  readonly streamPeer: string;
  readonly netSender: string;
  readonly tsvm: string;
  /** The Node that tsvm runs on. */
  readonly node: string;
  /** A raw image of random bytes, without holes, all in the page cache. */
  readonly disk: string;
  /** Frequency of the TSC as guests see it. */
  readonly tscKhz: number;
}

/** Neither sparse nor zero, because reads of holes would measure something else. */
function makeDisk(path: string): void {
  const partial = `${path}.partial`;
  const fd = openSync(partial, 'w');
  const block = Buffer.allocUnsafe(MIB);
  for (let i = 0; i < DISK_MIB; i++) writeSync(fd, randomFillSync(block));
  closeSync(fd);
  renameSync(partial, path);
}

/** Builds what is missing, in `build/` of the repository. */
export async function openWorkbench(root: string): Promise<Workbench> {
  const folder = join(root, 'build', 'bench');
  mkdirSync(folder, { recursive: true });
  const payloadFolder = join(root, 'build', 'payload');
  const payload = join(payloadFolder, 'payload.elf');
  await runProcess([join(root, 'guest-images', 'payload', 'build.sh'), payloadFolder]);
  const compile = async (name: string): Promise<string> => {
    const [program, source] = [join(folder, name), join(root, 'test', 'bench', `${name}.c`)];
    const options = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-pthread'];
    await runProcess(['cc', ...options, '-o', program, source]);
    return program;
  };
  const bareKvmRun = await compile('bare-kvm-run');
  const streamPeer = await compile('stream-peer');
  const netSender = await compile('net-sender');
  const disk = join(folder, 'disk.img');
  if (!existsSync(disk)) makeDisk(disk);
  await runProcess(['cksum', disk]);
  const { stdout } = await runProcess([bareKvmRun, payload, '']);
  return {
    root,
    payload,
    bareKvmRun,
    streamPeer,
    netSender,
    tsvm: join(root, 'bin', 'tsvm'),
    node: join(root, 'node_modules', 'node', 'bin', 'node'),
    disk,
    tscKhz: Number(/^tsc_khz=(\d+)$/m.exec(stdout)?.[1]),
  };
}
