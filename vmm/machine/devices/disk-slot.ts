import {
  closeDisk,
  type Disk,
  type DiskBackend,
  failureText,
  resolveScriptRequests,
} from '../../backends/disk/machine/disk.ts';
import { attachNativeDisk } from '../../kvm/disk.ts';

export interface DiskSlotOptions {
  readonly backend: DiskBackend;
  /** Runs a callback from the data plane's threads and handles the errors it throws. */
  readonly contain: (action: () => void) => void;
  /** Receives why a request failed, which the guest was told of; the receiver limits the rate. */
  readonly onFailure: (failure: unknown) => void;
  /** Receives an error after which the disk cannot continue. */
  readonly onFatal: (error: unknown) => void;
}

/** A block device's disk: a data plane for the life of the machine, and an exchangeable backend. */
export class DiskSlot {
  readonly disk: Disk;
  readonly #options: DiskSlotOptions;
  #backend: DiskBackend;

  /** @param options the backend is closed with the slot, or when it is replaced */
  constructor(options: DiskSlotOptions) {
    this.#options = options;
    this.#backend = options.backend;
    try {
      this.disk = attachNativeDisk(options.backend, () => options.contain(() => this.#serve()));
    } catch (error) {
      options.backend.close();
      throw error;
    }
  }

  get backend(): DiskBackend {
    return this.#backend;
  }

  /**
   * Replaces the backend by another. No request is in flight, and none may begin before it resolves.
   * Everything that the guest has written to the old one is durable then, and its files are closed.
   * Rejects, with the old one in place, if it cannot be flushed.
   */
  async replace(backend: DiskBackend): Promise<void> {
    const { onFailure, onFatal } = this.#options;
    await this.flush();
    try {
      detachAndClose(this.#backend);
    } catch (error) {
      // All of the guest's data is in the file; at most, some clusters are leaked.
      onFailure(error);
    }
    this.#backend = backend;
    try {
      const { sizeBytes, readOnly, scripted } = backend;
      this.disk.replace({ sizeBytes, readOnly, scripted });
      backend.attach(this.disk);
    } catch (error) {
      onFatal(error);
      throw error;
    }
  }

  /** Makes durable what the guest has written. No request is in flight. */
  async flush(): Promise<void> {
    await this.#backend.flush?.();
    this.#reportFailure();
  }

  /** The queue workers have stopped. */
  close(): void {
    try {
      // A guest may power off before the wake-up for a failure has been handled.
      this.#reportFailure();
    } finally {
      this.#closeBoth();
    }
  }

  #closeBoth(): void {
    try {
      closeDisk(this.disk, this.#backend);
    } finally {
      this.#backend.close();
    }
  }

  #serve(): void {
    const { onFailure, onFatal } = this.#options;
    this.#reportFailure();
    resolveScriptRequests(this.disk, this.#backend, onFailure, onFatal);
  }

  #reportFailure(): void {
    const failure = this.disk.takeFailure();
    if (failure !== undefined) this.#options.onFailure(failureText(failure));
  }
}

function detachAndClose(backend: DiskBackend): void {
  try {
    backend.detach?.();
  } finally {
    backend.close();
  }
}
