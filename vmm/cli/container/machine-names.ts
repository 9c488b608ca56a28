import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { machinesFolder } from '../../api/machines/machine-folder.ts';
import { isMachineName } from '../../api/machines/machine-name.ts';
import { CONTROL_SUMMARIES } from '../programs.ts';
import { openContainers } from './containers.ts';

/**
 * Whether a command line is for a running machine of `tsvm boot`: its verb is one for machines too, and
 * a word names a machine that runs, or has just been killed, and no container.
 */
export function isForMachine([verb = '', ...words]: readonly string[]): boolean {
  const root = machinesFolder();
  if (!Object.hasOwn(CONTROL_SUMMARIES, verb) || root === undefined) return false;
  const named = words.find((word) => isMachineName(word) && existsSync(join(root, word)));
  return named !== undefined && !openContainers().has(named);
}
