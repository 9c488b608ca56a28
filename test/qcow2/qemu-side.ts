/** Runs operations with QEMU on its own copy of the image. */
import { dirname } from 'node:path';
import { qemuImgOutputIn } from '../support/qemu-img.ts';
import type { QemuIo } from '../support/qemu-io.ts';
import type { Operation, PatternWrite } from './operations.ts';
import type { Patterns } from './patterns.ts';

export class QemuSide {
  readonly #qemuIo: QemuIo;
  readonly #patterns: Patterns;
  readonly #clusterBytes: number;
  #path = '';
  #dataFile: string | undefined;

  constructor(qemuIo: QemuIo, patterns: Patterns, clusterBytes: number) {
    this.#qemuIo = qemuIo;
    this.#patterns = patterns;
    this.#clusterBytes = clusterBytes;
  }

  /** @param dataFile the external data file, if there is one */
  async open(path: string, dataFile: string | undefined): Promise<void> {
    this.#path = path;
    this.#dataFile = dataFile;
    const data = dataFile && `,data-file.driver=file,data-file.filename=${dataFile}`;
    await this.#open(`driver=qcow2${data ?? ''} ${path}`);
  }

  async openRaw(path: string): Promise<void> {
    await this.#open(`driver=raw ${path}`);
  }

  async close(): Promise<void> {
    await this.#qemuIo.run('close');
  }

  /** @param sizeBytes of the disk before the operation */
  async apply(operation: Operation, sizeBytes: number): Promise<void> {
    switch (operation.kind) {
      case 'read':
      case 'reopen':
        return;
      case 'write':
        return this.#write(operation);
      case 'burst':
        for (const write of operation.writes) await this.#write(write);
        return;
      case 'compressed':
        return this.#writeCompressed(operation);
      case 'zeroes': {
        const flags = operation.mayUnmap ? '-q -z -u' : '-q -z';
        return this.#qemuIo.run(`write ${flags} ${operation.offset} ${operation.length}`);
      }
      case 'discard':
        return this.#qemuIo.run(`discard -q ${operation.offset} ${operation.length}`);
      case 'flush':
        return this.#qemuIo.run('flush');
      case 'resize':
        return this.#resize(sizeBytes, operation.sizeBytes);
      case 'create-snapshot':
        return this.#snapshot('-c', operation.name);
      case 'apply-snapshot':
        return this.#snapshot('-a', operation.name);
      case 'delete-snapshot':
        return this.#snapshot('-d', operation.name);
    }
  }

  /** Without `-d unmap`, QEMU ignores discards; "unsafe" only skips fsync. */
  async #open(optionsAndPath: string): Promise<void> {
    await this.#qemuIo.run(`open -d unmap -t unsafe -o ${optionsAndPath}`);
  }

  #write({ offset, length, pattern }: PatternWrite): Promise<void> {
    return this.#qemuIo.run(`write -q -s ${this.#patterns.path(pattern)} ${offset} ${length}`);
  }

  /**
   * QEMU compresses only unallocated clusters.
   *
   * The image is reopened for each cluster: QEMU remembers where the last compressed cluster ended
   * and writes the next one there even when the host cluster has been reused meanwhile.
   */
  async #writeCompressed({ offset, length, pattern }: PatternWrite): Promise<void> {
    const source = this.#patterns.path(pattern);
    for (let done = 0; done < length; done += this.#clusterBytes) {
      await this.#reopen();
      const range = `${offset + done} ${Math.min(this.#clusterBytes, length - done)}`;
      const refused = await this.#qemuIo.ask(`write -q -c -s ${source} ${range}`);
      if (refused !== '') await this.#qemuIo.run(`write -q -s ${source} ${range}`);
    }
  }

  /** When QEMU extends a disk, old content past its end in the last cluster appears. */
  async #resize(oldBytes: number, newBytes: number): Promise<void> {
    await this.#qemuIo.run(`truncate ${newBytes}`);
    const clusterEnd = Math.ceil(oldBytes / this.#clusterBytes) * this.#clusterBytes;
    const stale = Math.min(clusterEnd, newBytes) - oldBytes;
    if (stale > 0) await this.#qemuIo.run(`write -q -z ${oldBytes} ${stale}`);
  }

  async #snapshot(flag: '-c' | '-a' | '-d', name: string): Promise<void> {
    await this.close();
    await qemuImgOutputIn(dirname(this.#path), 'snapshot', flag, name, this.#path);
    await this.open(this.#path, this.#dataFile);
  }

  async #reopen(): Promise<void> {
    await this.close();
    await this.open(this.#path, this.#dataFile);
  }
}
