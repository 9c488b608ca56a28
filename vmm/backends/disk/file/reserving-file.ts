import { HostFile } from './host-file.ts';

/** A new file: whatever is written to it is written there for the first time. */
export class ReservingFile extends HostFile {
  override writeSync(offset: number, data: Uint8Array): void {
    this.expectWritesSync(offset, data.length);
    super.writeSync(offset, data);
  }

  override async write(offset: number, data: Uint8Array): Promise<void> {
    this.expectWritesSync(offset, data.length);
    await super.write(offset, data);
  }
}
