import type {
  Claim,
  Disk,
  Extent,
  ScriptedOperations,
  ScriptRequest,
} from '../../vmm/backends/disk/machine/disk.ts';

export interface Finish {
  readonly id: number;
  readonly errno: number;
  readonly data: Uint8Array | undefined;
}

/** A request of 512-byte sectors in a range without extents. */
export function scriptRequest(
  id: number,
  op: ScriptRequest['op'],
  offset: number,
  length: number,
): ScriptRequest {
  return { id, op, offset, length, gapOffset: offset, mayUnmap: false };
}

/** A data plane that records what a backend tells it. */
export class FakeDisk implements Disk {
  readonly extents: Extent[] = [];
  readonly retries: number[] = [];
  readonly finishes: Finish[] = [];
  requests: ScriptRequest[] = [];
  scripted: ScriptedOperations | undefined;

  replace(): void {}

  setScripted(scripted: ScriptedOperations): void {
    this.scripted = scripted;
  }

  pushExtents(extents: readonly Extent[]): void {
    this.extents.push(...extents);
  }

  async withdrawExtents(): Promise<void> {}

  addStock(_fd: number, _unit: number, _fdOffset: number, _length: number): void {}

  setClaiming(_allowed: boolean): void {}

  takeClaims(): Claim[] {
    return [];
  }

  takeFailure(): undefined {}

  close(): void {}

  takeScriptRequests(): ScriptRequest[] {
    return this.requests.splice(0);
  }

  retry(id: number): void {
    this.retries.push(id);
  }

  finish(id: number, errno: number, data?: Uint8Array): void {
    this.finishes.push({ id, errno, data });
  }

  copyWriteData(): Uint8Array {
    return new Uint8Array();
  }
}
