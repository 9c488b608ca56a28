import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  Disk,
  DiskBackend,
  Extent,
  ScriptRequest,
} from '../../vmm/backends/disk/machine/disk.ts';
import { hasIoUring } from '../../vmm/host/io-uring.ts';
import type { DiskEngine } from '../../vmm/kvm/queue-workers.ts';

/** The engines, each with the reason why it is skipped on this host, if any. */
export function engines(): readonly { engine: DiskEngine; skip: string | false }[] {
  const skip = hasIoUring() ? false : 'this process may not use io_uring';
  return [
    { engine: 'threads', skip: false },
    { engine: 'io_uring', skip },
  ];
}

/** A folder that is removed when the test process ends. */
export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'tsvm-device-'));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/** Pseudo-random bytes, determined by the seed. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

interface Withheld {
  readonly request: ScriptRequest;
  readonly done: () => void;
}

/**
 * A backend whose requests the test answers when it likes: it has no extents until then. Its data is in
 * a separate file.
 */
export class WithholdingBackend implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = false;
  readonly scripted;
  readonly withheld: Withheld[] = [];
  readonly #fd: number;
  #givenUp = false;

  constructor(
    path: string,
    content: Uint8Array,
    scripted = { flush: false, discard: false, writeZeroes: false },
  ) {
    this.#fd = openSync(path, 'w+');
    writeSync(this.#fd, content);
    this.sizeBytes = content.length;
    this.scripted = scripted;
  }

  attach(): void {}

  resolve(disk: Disk, request: ScriptRequest): Promise<void> {
    if (this.#givenUp) {
      disk.finish(request.id, constants.errno.EIO);
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.withheld.push({ request, done: resolve });
    return promise;
  }

  extent(offset: number, length: number, readOnly = false): Extent {
    return { offset, length, fd: this.#fd, fdOffset: offset, zero: false, readOnly };
  }

  /** Takes the oldest pending request, which the test then answers. */
  take(): ScriptRequest {
    const first = this.withheld.shift();
    if (first === undefined) throw new Error('no request is withheld');
    first.done();
    return first.request;
  }

  /** Fails pending and future requests, so that a failed test does not wait for ever. */
  giveUp(disk: Disk): void {
    this.#givenUp = true;
    while (this.withheld.length > 0) disk.finish(this.take().id, constants.errno.EIO);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
