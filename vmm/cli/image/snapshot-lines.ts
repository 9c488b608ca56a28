import type { SnapshotInfo } from '../../backends/disk/image/qcow2/snapshot/snapshot-table.ts';
import { printable } from '../../util/printable.ts';
import { formatImageSize } from './image-size.ts';

/** The table of snapshots in qemu-img's format. */
export function snapshotLines(snapshots: readonly SnapshotInfo[]): string[] {
  return [
    'Snapshot list:',
    line('ID', 'TAG', 'VM SIZE', 'DATE', 'VM CLOCK', 'ICOUNT'),
    ...snapshots.map((snapshot) =>
      line(
        printable(snapshot.id),
        printable(snapshot.name),
        formatImageSize(snapshot.vmStateBytes),
        localTime(snapshot.dateSeconds),
        clock(snapshot.vmClockNanoseconds),
        snapshot.icount === undefined ? '' : String(snapshot.icount),
      ),
    ),
  ];
}

function line(
  ...[id, tag, size, date, vmClock, icount]: [string, string, string, string, string, string]
): string {
  return `${id.padEnd(10)}${tag.padEnd(17)}${size.padStart(8)}${date.padStart(20)}${vmClock.padStart(13)}${icount.padStart(11)}`;
}

function localTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()];
  return `${day.map(twoDigits).join('-')} ${time.map(twoDigits).join(':')}`;
}

/** Hours, minutes, seconds and milliseconds. */
function clock(nanoseconds: bigint): string {
  const milliseconds = Number(nanoseconds / 1_000_000n);
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${parts.map(twoDigits).join(':')}.${String(milliseconds % 1000).padStart(3, '0')}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
