import { constants } from 'node:fs';
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { randomHex } from '../../host/random.ts';
import { hasCode } from '../../util/error-code.ts';
import { storeFailure } from './store-failure.ts';

/** Small pieces are written together: a system call each would take longer than they do. */
const WRITE_BYTES = 256 * 1024;

/** A new file of the store, which is not visible before it is complete. */
export class NewContent {
  readonly path: string;
  readonly #handle: FileHandle;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #sizeBytes = 0;
  #closed = false;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** @param folder the store's for temporary files */
  static async create(folder: string): Promise<NewContent> {
    const path = join(folder, randomHex(12));
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    try {
      return new NewContent(path, await open(path, flags, 0o600));
    } catch (error) {
      throw storeFailure(folder, error);
    }
  }

  get fd(): number {
    return this.#handle.fd;
  }

  /** Bytes appended so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** @param bytes must stay as they are */
  async append(bytes: Uint8Array): Promise<void> {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#sizeBytes += bytes.length;
    if (this.#waitingBytes >= WRITE_BYTES) await this.flush();
  }

  /** The appended data can be read from the file afterwards. */
  async flush(): Promise<void> {
    const waiting = this.#waiting;
    const position = this.#sizeBytes - this.#waitingBytes;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (waiting.length === 0) return;
    const bytes = waiting.length === 1 && waiting[0] ? waiting[0] : Buffer.concat(waiting);
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, undefined, position + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw storeFailure(dirname(this.path), error);
    }
  }

  /**
   * Gives it its names, in the order given, once it is on the disk. A name that is there stays: it
   * is of the same content.
   */
  async appear(...names: readonly string[]): Promise<void> {
    await this.flush();
    try {
      await this.#handle.datasync();
      await this.#close();
      const [last, ...others] = names.toReversed();
      for (const name of others.toReversed()) await linkUnlessThere(this.path, name);
      if (last !== undefined) await rename(this.path, last);
      for (const folder of new Set(names.map(dirname))) await syncFolder(folder);
    } catch (error) {
      throw storeFailure(dirname(this.path), error);
    }
  }

  /** It is not wanted, or has appeared. */
  async discard(): Promise<void> {
    await this.#close();
    await rm(this.path, { force: true });
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#handle.close();
  }
}

async function linkUnlessThere(path: string, name: string): Promise<void> {
  try {
    await link(path, name);
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  }
}

/** A name is there after a power cut only if its folder was synced. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
