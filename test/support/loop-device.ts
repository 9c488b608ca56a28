/** Block devices for tests: files behind Linux's loop driver (loop(4)). */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pattern } from './disk-fixtures.ts';

const MIB = 2 ** 20;

export interface LoopDeviceOptions {
  readonly sizeBytes: number;
  readonly readOnly?: boolean;
  /** Sector size; default 512. */
  readonly sectorBytes?: number;
  /** Initial content of its start. The rest is garbage. */
  readonly content?: Uint8Array;
}

/**
 * A block device that contains old data: none of its bytes is zero.
 *
 * This process keeps it open, and the kernel detaches it on the last close, so that no device is left,
 * however the process ends.
 */
export class LoopDevice {
  /** `/dev/loopN`. */
  readonly path: string;
  readonly #folder: string;
  readonly #fd: number;

  /** @throws if there is no loop driver or this process may not use it */
  constructor({ sizeBytes, readOnly = false, sectorBytes = 512, content }: LoopDeviceOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'tsvm-loop-'));
    try {
      const file = join(this.#folder, 'device');
      writeGarbage(file, sizeBytes, content ?? new Uint8Array());
      const mode = readOnly ? ['--read-only'] : [];
      const sectors = ['--sector-size', `${sectorBytes}`];
      this.path = losetup('--find', '--show', ...mode, ...sectors, file).trim();
      this.#fd = this.#hold();
    } catch (error) {
      rmSync(this.#folder, { recursive: true });
      throw error;
    }
  }

  /** Processes that have it open keep it. After the last close it is gone. */
  remove(): void {
    closeSync(this.#fd);
    rmSync(this.#folder, { recursive: true });
  }

  #hold(): number {
    try {
      return openSync(this.path, 'r');
    } finally {
      // This only marks an open device; see LO_FLAGS_AUTOCLEAR in loop(4).
      losetup('--detach', this.path);
    }
  }
}

/** A loop device that is detached when the test ends. */
export function loopDevice(test: TestContext, options: LoopDeviceOptions): LoopDevice {
  const device = new LoopDevice(options);
  test.after(() => device.remove());
  return device;
}

/** Why there are no loop devices on this host; false if there are. */
export function noLoopDevices(): string | false {
  try {
    new LoopDevice({ sizeBytes: MIB }).remove();
    return false;
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim().split('\n').at(-1) : error;
    return `this process can make no loop device: ${reason}`;
  }
}

function losetup(...args: readonly string[]): string {
  return execFileSync('losetup', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function writeGarbage(path: string, sizeBytes: number, content: Uint8Array): void {
  const garbage = pattern(MIB, 0xdead).map((byte) => byte || 0xff);
  writeFileSync(path, '');
  const fd = openSync(path, 'r+');
  for (let at = 0; at < sizeBytes; at += MIB) {
    writeSync(fd, garbage, 0, Math.min(MIB, sizeBytes - at), at);
  }
  writeSync(fd, content, 0, content.length, 0);
  closeSync(fd);
}
