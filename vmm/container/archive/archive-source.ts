/** The source of a loaded image: files by name, in a tar archive or a folder. */
import { closeSync, fstatSync, openSync, read, readSync, realpathSync, statSync } from 'node:fs';
import { join, posix, sep } from 'node:path';
import { promisify } from 'node:util';
import { TsvmError } from '../../errors.ts';
import { readTar, type TarMember } from '../tar/reader.ts';

export interface ArchiveSource {
  /** Bytes of a file; undefined when there is none of that name. */
  sizeBytes(name: string): number | undefined;
  /** @throws TsvmError `invalid-image` when it is not there, or larger than `bytesMax` */
  read(name: string, bytesMax: number): Buffer;
  stream(name: string): AsyncIterable<Uint8Array>;
  close(): void;
}

const readAt = promisify(read);

const STREAM_BYTES = 2 ** 20;
/** Links to links; Docker's archives of old have one. */
const LINKS_MAX = 8;

interface FilePart {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
}

function readPart({ fd, offset, length }: FilePart): Buffer {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const got = readSync(fd, bytes, done, length - done, offset + done);
    if (got === 0) break;
    done += got;
  }
  return bytes;
}

/** A stream of node:fs would close the file when its reader stops early. */
async function* streamPart({ fd, offset, length }: FilePart): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < length; ) {
    const bytes = Buffer.allocUnsafe(Math.min(STREAM_BYTES, length - done));
    const { bytesRead } = await readAt(fd, bytes, 0, bytes.length, offset + done);
    if (bytesRead === 0) return;
    done += bytesRead;
    yield bytes.subarray(0, bytesRead);
  }
}

function missing(name: string): TsvmError {
  return new TsvmError('invalid-image', `the archive has no file ${JSON.stringify(name)}`);
}

function checkSize(name: string, sizeBytes: number | undefined, bytesMax: number): void {
  if (sizeBytes === undefined) throw missing(name);
  if (sizeBytes <= bytesMax) return;
  throw new TsvmError('invalid-image', `${JSON.stringify(name)} in the archive is too large`);
}

/** Normalizes a name: `./a//b` is `a/b`. Names outside the archive match no file. */
function normalName(name: string): string {
  return posix.normalize(`/${name}`).slice(1);
}

/** An uncompressed tar archive. Its members are read in place. */
export class TarSource implements ArchiveSource {
  readonly #fd: number;
  readonly #files = new Map<string, FilePart>();
  readonly #links = new Map<string, string>();

  /** @param fd is the archive's from now on */
  constructor(fd: number) {
    this.#fd = fd;
    try {
      for (const member of readTar(fd)) this.#add(member);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  #add(member: TarMember): void {
    const name = normalName(member.name);
    this.#links.delete(name);
    this.#files.delete(name);
    if (member.kind === 'symlink') {
      this.#links.set(name, normalName(posix.join(posix.dirname(name), member.linkName)));
    } else if (member.kind === 'hard-link') {
      this.#links.set(name, normalName(member.linkName));
    } else if (member.kind === 'file' && member.sparse === undefined) {
      const { dataOffset: offset, sizeBytes: length } = member;
      this.#files.set(name, { fd: this.#fd, offset, length });
    }
  }

  sizeBytes(name: string): number | undefined {
    return this.#find(name)?.length;
  }

  read(name: string, bytesMax: number): Buffer {
    const part = this.#find(name);
    checkSize(name, part?.length, bytesMax);
    return part === undefined ? Buffer.alloc(0) : readPart(part);
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    const part = this.#find(name);
    if (part === undefined) throw missing(name);
    return streamPart(part);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #find(name: string): FilePart | undefined {
    let target = normalName(name);
    for (let links = 0; links < LINKS_MAX; links++) {
      const next = this.#links.get(target);
      if (next === undefined) return this.#files.get(target);
      target = next;
    }
    return undefined;
  }
}

/** A folder. Links in it that lead out of it are not followed. */
export class FolderSource implements ArchiveSource {
  readonly #root: string;
  readonly #opened: number[] = [];

  constructor(path: string) {
    this.#root = realpathSync(path);
  }

  sizeBytes(name: string): number | undefined {
    const path = this.#path(name);
    const stats = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
    return stats?.isFile() ? stats.size : undefined;
  }

  read(name: string, bytesMax: number): Buffer {
    checkSize(name, this.sizeBytes(name), bytesMax);
    return readPart(this.#open(name));
  }

  stream(name: string): AsyncIterable<Uint8Array> {
    if (this.sizeBytes(name) === undefined) throw missing(name);
    return streamPart(this.#open(name));
  }

  close(): void {
    for (const fd of this.#opened) closeSync(fd);
    this.#opened.length = 0;
  }

  #open(name: string): FilePart {
    const fd = openSync(this.#path(name) ?? '', 'r');
    this.#opened.push(fd);
    return { fd, offset: 0, length: fstatSync(fd).size };
  }

  #path(name: string): string | undefined {
    try {
      const path = realpathSync(join(this.#root, normalName(name)));
      return path.startsWith(this.#root + sep) ? path : undefined;
    } catch {
      return undefined;
    }
  }
}
