/**
 * Who may do what to a store at the same time. All locks are open file description locks on one
 * file, so they go with their holder, however that ends, and leave nothing behind:
 *
 * - *content*: shared by whoever adds content or reads it; exclusive for whoever removes what no
 *   image needs. Content that no image names yet is safe while its maker holds it.
 * - *catalog*: exclusive for the moment in which the list of images is changed.
 * - one *piece* each digest has: whoever makes that content holds it; others wait, and then have it.
 */
import { closeSync, openSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FileLocks, tryLockFile } from '../../host/file-locks.ts';
import { type Digest, digestHex } from '../digest.ts';
import { storeFailure } from './store-failure.ts';

const CONTENT_BYTE = 0;
const CATALOG_BYTE = 1;
/** Where the bytes of the digests begin; 40 bits of a hash tell them apart. */
const DIGESTS_START = 2 ** 40;
const DIGEST_DIGITS = 10;

const WAIT_FIRST_MS = 2;
const WAIT_MAX_MS = 50;

/** A lock that is held until it is released. */
export interface HeldLock {
  release(): void;
}

class OpenLock implements HeldLock {
  readonly #locks: FileLocks;
  readonly #byte: number;
  #fd: number;

  constructor(locks: FileLocks, fd: number, byte: number) {
    this.#locks = locks;
    this.#fd = fd;
    this.#byte = byte;
  }

  /** Takes it, or makes it one of the other kind; false when another holder is in the way. */
  tryTake(exclusive: boolean): boolean {
    return tryLockFile(this.#locks, this.#fd, exclusive, this.#byte, 1);
  }

  release(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }
}

export class StoreLocks {
  readonly #path: string;
  readonly #locks: FileLocks;

  constructor(path: string, locks: FileLocks) {
    this.#path = path;
    this.#locks = locks;
  }

  shareContent(signal?: AbortSignal): Promise<HeldLock> {
    return this.#wait(CONTENT_BYTE, false, signal);
  }

  /** Undefined while anybody uses content. */
  tryOwnContent(): HeldLock | undefined {
    return this.#try(CONTENT_BYTE, true);
  }

  /** Undefined while anybody changes the list of images. */
  tryOwnCatalog(): HeldLock | undefined {
    return this.#try(CATALOG_BYTE, true);
  }

  ownCatalog(): Promise<HeldLock> {
    return this.#wait(CATALOG_BYTE, true);
  }

  tryOwnPiece(digest: Digest): HeldLock | undefined {
    return this.#try(pieceByte(digest), true);
  }

  ownPiece(digest: Digest, signal?: AbortSignal): Promise<HeldLock> {
    return this.#wait(pieceByte(digest), true, signal);
  }

  #open(byte: number): OpenLock {
    try {
      return new OpenLock(this.#locks, openSync(this.#path, 'a+', 0o600), byte);
    } catch (error) {
      throw storeFailure(this.#path, error);
    }
  }

  #try(byte: number, exclusive: boolean): HeldLock | undefined {
    const lock = this.#open(byte);
    try {
      if (lock.tryTake(exclusive)) return lock;
    } catch (error) {
      lock.release();
      throw error;
    }
    lock.release();
    return undefined;
  }

  /** The kernel could wait as well, but only on a thread of its own, which nothing could interrupt. */
  async #wait(byte: number, exclusive: boolean, signal?: AbortSignal): Promise<HeldLock> {
    const lock = this.#open(byte);
    try {
      for (let waitMs = WAIT_FIRST_MS; !lock.tryTake(exclusive); ) {
        await sleep(waitMs, undefined, { ...(signal && { signal }) });
        waitMs = Math.min(2 * waitMs, WAIT_MAX_MS);
      }
      return lock;
    } catch (error) {
      lock.release();
      throw signal?.aborted ? signal.reason : error;
    }
  }
}

function pieceByte(digest: Digest): number {
  return DIGESTS_START + Number.parseInt(digestHex(digest).slice(0, DIGEST_DIGITS), 16);
}
