import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { privateFolderProblem } from '../../host/private-folder.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import {
  isMachineAlive,
  type MachineRecord,
  machinesFolder,
  readMachineRecord,
  removeDeadMachine,
} from './machine-folder.ts';
import { checkMachineName, isMachineName } from './machine-name.ts';

/** A machine of this user whose process is alive. */
export interface RunningMachine {
  readonly name: string;
  readonly folder: string;
  /** Undefined while the machine starts. */
  readonly record: MachineRecord | undefined;
}

/** All running machines of this user by name. Removes the files that dead machines left. */
export function runningMachines(root = machinesFolder()): RunningMachine[] {
  const machines: RunningMachine[] = [];
  forEachMachine(root, (name, folder) => {
    machines.push({ name, folder, record: readMachineRecord(folder) });
  });
  return machines;
}

/** Removes the files of machines whose processes were killed. */
export function removeDeadMachines(root = machinesFolder()): void {
  forEachMachine(root, () => {});
}

/** Calls a function for each machine that is alive, and removes the files of the others. */
function forEachMachine(
  root: string | undefined,
  alive: (name: string, folder: string) => void,
): void {
  if (root === undefined) return;
  for (const name of namesIn(root)) {
    const folder = join(root, name);
    if (isMachineAlive(folder)) alive(name, folder);
    else removeDeadMachine(folder);
  }
}

/** @throws TsvmError `machine-not-found`, `invalid-config` for an invalid name */
export function findMachine(name: string, root = machinesFolder()): RunningMachine {
  checkMachineName(name);
  const machines = runningMachines(root);
  const machine = machines.find((each) => each.name === name);
  if (machine !== undefined) return machine;
  const names = machines.map((each) => each.name);
  throw new TsvmError(
    'machine-not-found',
    `no machine ${name} is running: ` +
      (names.length === 0 ? 'none is' : `there are ${names.join(', ')}`),
  );
}

function namesIn(root: string): string[] {
  try {
    const names = readdirSync(fsPath(root)).filter(isMachineName).sort();
    const problem = privateFolderProblem(root);
    if (problem === undefined) return names;
    throw new TsvmError('file-unreadable', `${root} is not safe to use: ${problem}`);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
