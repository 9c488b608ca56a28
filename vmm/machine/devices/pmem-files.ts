import { type FSWatcher, watch } from 'node:fs';
import { type MemoryRange, pmemRegions } from '../../arch/x86_64/layout.ts';
import { type HostFile, openHostFile } from '../../backends/disk/file/host-file.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import type { MappedFile } from '../../kvm/memory.ts';
import { formatSize } from '../../util/size.ts';
import type { ResolvedConfig } from '../config.ts';
import type { ResolvedPmem } from '../pmem-config.ts';

/** Sizes of pmem regions are multiples of this, as kernels want to map them by large pages. */
const GRANULE_BYTES = 2 * 2 ** 20;

/** An open file of the host that becomes guest memory. */
export class PmemFile {
  readonly region: MemoryRange;
  readonly #config: ResolvedPmem;
  readonly #file: HostFile;
  readonly fileBytes: number;
  #watcher: FSWatcher | undefined;

  constructor(config: ResolvedPmem, file: HostFile, region: MemoryRange) {
    this.#config = config;
    this.#file = file;
    this.fileBytes = file.sizeBytes();
    this.region = region;
  }

  get mapping(): MappedFile {
    const { readOnly } = this.#config;
    return { ...this.region, fd: this.#file.fd, fileBytes: this.fileBytes, readOnly };
  }

  /**
   * Makes durable what the guest has written.
   * @throws TsvmError `disk-io`
   */
  async flush(): Promise<void> {
    if (!this.#config.readOnly) await this.#file.datasync();
  }

  /**
   * Calls `onTruncated` when another program has made the file shorter. The guest reads zeroes where the
   * file was, or its vCPU fails.
   */
  watch(onTruncated: (error: TsvmError) => void): void {
    if (this.#file.isBlockDevice) return;
    try {
      // By the open file: the path may lead to another one meanwhile.
      const path = `/proc/self/fd/${this.#file.fd}`;
      this.#watcher = watch(path, { persistent: false }, () => {
        const error = this.#truncation();
        if (error === undefined) return;
        this.#watcher?.close();
        onTruncated(error);
      });
      this.#watcher.on('error', () => {});
    } catch {
      // Too many watches on this host (fs.inotify): what it tells of is survived all the same.
    }
  }

  close(): void {
    this.#watcher?.close();
    this.#file.close();
  }

  #truncation(): TsvmError | undefined {
    const nowBytes = this.#file.sizeBytes();
    if (nowBytes >= this.fileBytes) return undefined;
    return new TsvmError(
      'disk-io',
      `${this.#config.path} was truncated from ${formatSize(this.fileBytes)} to ${formatSize(nowBytes)} ` +
        'while it was the guest’s memory: leave files of --pmem alone while the machine runs',
    );
  }
}

/**
 * Opens and locks the files that are to be guest memory.
 * @throws TsvmError `file-unreadable`, `disk-locked`, `invalid-disk`, `invalid-config`
 */
export function openPmemFiles({
  pmems,
  memoryBytes,
  memoryMaxBytes,
}: ResolvedConfig): readonly PmemFile[] {
  using opened = new DisposableStack();
  const files = pmems.map((config) => {
    const { path, readOnly } = config;
    const file = openHostFile(path, hostFiles(), { readOnly });
    opened.defer(() => file.close());
    return { config, file, sizeBytes: regionBytes(config, file.sizeBytes()) };
  });
  const sizes = files.map(({ sizeBytes }) => sizeBytes);
  const regions = pmemRegions(memoryBytes, memoryMaxBytes, sizes);
  opened.move();
  return files.map(({ config, file }, index) => {
    return new PmemFile(config, file, regions[index] as MemoryRange);
  });
}

/** @throws TsvmError `invalid-disk` */
function regionBytes({ path, readOnly }: ResolvedPmem, fileBytes: number): number {
  if (fileBytes === 0) throw new TsvmError('invalid-disk', `${path} is empty: it cannot be memory`);
  const bytes = Math.ceil(fileBytes / GRANULE_BYTES) * GRANULE_BYTES;
  if (bytes === fileBytes || readOnly) return bytes;
  throw new TsvmError(
    'invalid-disk',
    `${path} has ${fileBytes} bytes, which is no multiple of 2 MiB: what the guest wrote behind its end ` +
      `would be lost. Make it longer with "truncate -s %2M", or give it read-only (,ro)`,
  );
}
