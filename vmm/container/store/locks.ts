/**
 * The locks of a store. All are open file description locks on one file, so they are released when
 * their holder ends, and leave no files:
 *
 * - *content*: shared while adding or reading content; exclusive while removing unneeded content.
 *   Content that no image refers to yet is safe while its creator holds the lock.
 * - *catalog*: exclusive while the list of images is changed.
 * - one *piece* per digest: held while that content is created; others wait and then use it.
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

  /** The kernel could wait instead, but only on a separate thread, which could not be interrupted. */
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
