import { readdirSync, statSync } from 'node:fs';
import { fsPath } from '../../util/byte-names.ts';
import { lockPath, readMachineRecord } from './machine-folder.ts';

/** Kills the process that holds a folder's lock: the record alone could name another one. */
export function killHolder(folder: string): void {
  const pid = readMachineRecord(folder)?.pid;
  if (pid === undefined || !hasOpen(pid, lockPath(folder))) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

function hasOpen(pid: number, path: string): boolean {
  try {
    const { dev, ino } = statSync(fsPath(path));
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const file = statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false });
      return file?.dev === dev && file.ino === ino;
    });
  } catch {
    return false;
  }
}
