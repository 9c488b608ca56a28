import { HostFile } from './host-file.ts';

/** A new file, in which every write is the first to its range: space is reserved before. */
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
