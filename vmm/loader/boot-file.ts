import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { TsvmError } from '../errors.ts';
import { fsPath } from '../util/byte-names.ts';

/** Bounds-checked access to an image. Offsets and sizes may come from untrusted fields. */
export interface ImageSource {
  /** Name for error messages, usually the path. */
  readonly name: string;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /**
   * The bytes [offset, offset + length).
   * @throws TsvmError `invalid-kernel` naming `what` when the range exceeds the image
   */
  read(offset: number, length: number, what: string): DataView;
}

/** A kernel or initrd that is loaded from. */
export interface BootImage extends ImageSource {
  /** For mapping it; undefined when it is not in a file. */
  readonly fd: number | undefined;
  /** Identifies this version of the content without reading it; undefined when nothing does. */
  readonly identity: string | undefined;
  /**
   * Fills `target` with the bytes from `offset`, which are inside the image.
   * @throws TsvmError `file-unreadable` when reading fails or the file ends too early
   */
  readInto(target: Uint8Array, offset: number): void;
  close(): void;
}

/** @param field the invalid field's name in its specification */
export function invalidKernel(image: ImageSource, field: string, problem: string): TsvmError {
  return new TsvmError('invalid-kernel', `${image.name}: ${field}: ${problem}`);
}

/** @throws TsvmError `invalid-kernel` unless [offset, offset + length) is within the image */
export function checkRange(image: ImageSource, offset: number, length: number, what: string): void {
  if (offset >= 0 && length >= 0 && offset + length <= image.sizeBytes) return;
  throw invalidKernel(
    image,
    what,
    `${length} bytes at offset ${offset} exceed the image's ${image.sizeBytes} bytes`,
  );
}

/**
 * Reads a 64-bit field.
 * @throws TsvmError `invalid-kernel` for values from 2^53, which no valid image has
 */
export function readU64(image: ImageSource, view: DataView, offset: number, field: string): number {
  const value = view.getBigUint64(offset, true);
  if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  throw invalidKernel(image, field, `0x${value.toString(16)} is out of range`);
}

/** A part of an image as a separate image. */
export function imagePart(image: ImageSource, start: number, sizeBytes: number): ImageSource {
  const part: ImageSource = {
    name: image.name,
    sizeBytes,
    read(offset, length, what) {
      checkRange(part, offset, length, what);
      return image.read(start + offset, length, what);
    },
  };
  return part;
}

/** An image in memory, which was read from a disk. */
export class BootBytes implements BootImage {
  readonly name: string;
  readonly fd = undefined;
  readonly identity = undefined;
  readonly #bytes: Uint8Array;

  /** @param name name for error messages */
  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.#bytes = bytes;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  read(offset: number, length: number, what: string): DataView {
    checkRange(this, offset, length, what);
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + offset, length);
  }

  readInto(target: Uint8Array, offset: number): void {
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  close(): void {}
}

/** An open regular file. {@link close} closes its descriptor. */
export class BootFile implements BootImage {
  readonly name: string;
  readonly fd: number;
  readonly sizeBytes: number;
  /** ctime cannot be set back, so a changed file never keeps its identity. */
  readonly identity: string;

  /**
   * @param name name for error messages
   * @throws TsvmError `file-unreadable` when it cannot be opened or is not a regular file
   */
  constructor(path: string, name = path) {
    this.name = name;
    try {
      // Checked before opening: open(2) of a pipe would block, and that of a device may have effects.
      checkKind(path, statSync(fsPath(path)));
      this.fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      throw cause instanceof TsvmError ? cause : unreadable(path, cause);
    }
    try {
      const stat = fstatSync(this.fd, { bigint: true });
      checkKind(path, stat);
      const { dev, ino, size, mtimeNs, ctimeNs } = stat;
      this.identity = `${dev}-${ino}-${size}-${mtimeNs}-${ctimeNs}`;
      this.sizeBytes = Number(size);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(offset: number, length: number, what: string): DataView {
    checkRange(this, offset, length, what);
    const bytes = new Uint8Array(length);
    this.readInto(bytes, offset);
    return new DataView(bytes.buffer);
  }

  readInto(target: Uint8Array, offset: number): void {
    for (let done = 0; done < target.byteLength; ) {
      let count: number;
      try {
        count = readSync(this.fd, target, done, target.byteLength - done, offset + done);
      } catch (cause) {
        throw unreadable(this.name, cause);
      }
      if (count === 0) {
        throw new TsvmError('file-unreadable', `${this.name} was truncated while it was read`);
      }
      done += count;
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** @throws TsvmError `file-unreadable` unless it is a regular file */
function checkKind(path: string, stat: Stats | BigIntStats): void {
  if (stat.isFile()) return;
  const what = stat.isDirectory()
    ? 'it is a folder'
    : stat.isFIFO() || stat.isSocket()
      ? 'it is a pipe or a socket; write its output to a file first'
      : 'it is a device; copy its content to a file first';
  throw new TsvmError('file-unreadable', `${path} is not a regular file: ${what}`);
}

function unreadable(path: string, cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError('file-unreadable', `cannot read ${path}: ${reason}`, { cause });
}
