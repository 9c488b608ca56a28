import type { NativeDisk } from '../../kvm-addon/index.d.ts';
import type {
  Disk,
  DiskBackend,
  ScriptedOperations,
  ScriptRequest,
} from '../backends/disk/machine/disk.ts';
import type { Extent } from '../backends/disk/machine/extent.ts';
import { loadAddon } from '../host/addon.ts';

/** A disk that queue workers serve; see {@link Disk}. */
export class KvmDisk implements Disk {
  readonly native: NativeDisk;
  readonly #backend: DiskBackend;

  /** @param onScriptRequests called on the JavaScript thread, once a batch */
  constructor(backend: DiskBackend, onScriptRequests: () => void) {
    const { NativeDisk } = loadAddon();
    const { sizeBytes, readOnly, scripted } = backend;
    this.native = new NativeDisk({ sizeBytes, readOnly, scripted, onScriptRequests });
    this.#backend = backend;
    try {
      backend.attach(this);
    } catch (error) {
      this.native.close();
      throw error;
    }
  }

  setScripted(scripted: ScriptedOperations): void {
    this.native.setScripted(scripted);
  }

  pushExtents(extents: readonly Extent[]): void {
    this.native.pushExtents(extents);
  }

  withdrawExtents(offset: number, length: number): Promise<void> {
    return this.native.withdrawExtents(offset, length);
  }

  addSpare(fd: number, unit: number, fdOffset: number, length: number): void {
    this.native.addSpare(fd, unit, fdOffset, length);
  }

  setClaiming(allowed: boolean): void {
    this.native.setClaiming(allowed);
  }

  takeClaims(): number[] {
    return this.native.takeClaims();
  }

  takeScriptRequests(): ScriptRequest[] {
    return this.native.takeScriptRequests();
  }

  /** What the host has failed to do since the last call, for a log: the guest knows already. */
  takeFailure(): string | undefined {
    const failure = this.native.takeFailure();
    if (failure === undefined) return undefined;
    const { op, code, description } = failure;
    return `the host cannot carry out a ${op}: ${description} (${code})`;
  }

  retry(id: number): void {
    this.native.retry(id);
  }

  finish(id: number, errno: number, data?: Uint8Array): void {
    this.native.finish(id, errno, data);
  }

  copyWriteData(id: number): Uint8Array {
    return this.native.copyWriteData(id);
  }

  /** Nothing may use the disk any more: its device is reset. */
  close(): void {
    try {
      this.#backend.detach?.();
    } finally {
      this.native.close();
    }
  }
}
