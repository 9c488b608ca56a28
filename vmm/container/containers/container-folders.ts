/**
 * The layout of the store of containers:
 *
 * ```
 * lock                    empty; exclusive while a container or a name is added or removed
 * names/NAME              a link whose target is the ID: a name is taken by making it, atomically
 * exits/ID                exit codes of containers that have been removed; see `exit-records.ts`
 * events.log              what happened to containers, a JSON object a line
 * base/SIZE.ext4          empty file systems, and an empty qcow2 image over each: see `writable-layer.ts`
 * ID/config.json          a ContainerConfig; a folder without it is half made, and is removed
 * ID/state.json           a ContainerState
 * ID/writable.qcow2       what the container has written
 * ID/container.log        its output; older files have .1, .2, ... appended
 * ID/supervisor.log       messages of the process that runs it
 * removed-ID              a container that is being removed
 * ```
 *
 * `RUNTIME/containers/ID/` is the folder of the process that runs a container: see
 * `../../api/machines/machine-folder.ts`.
 */
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { dataFolder, runtimeFolder, stateFolder } from '../../host/folders.ts';

const CONTAINER_ID = /^[0-9a-f]{64}$/;

export function isContainerId(text: string): boolean {
  return CONTAINER_ID.test(text);
}

export class ContainerFolders {
  readonly root: string;
  /** Of the processes that run containers. */
  readonly runtime: string;

  constructor(root: string, runtime: string) {
    this.root = root;
    this.runtime = runtime;
  }

  /** @throws TsvmError `store-failed` for a user without a home folder */
  static ofUser(): ContainerFolders {
    const data = dataFolder();
    const state = stateFolder();
    // Without a login session there is no XDG_RUNTIME_DIR.
    const runtime = runtimeFolder() ?? (state && join(state, 'run'));
    if (data === undefined || runtime === undefined) {
      throw new TsvmError(
        'store-failed',
        'no folder for containers: set HOME, XDG_DATA_HOME or TSVM_DATA_FOLDER',
      );
    }
    return new ContainerFolders(join(data, 'containers'), join(runtime, 'containers'));
  }

  get lock(): string {
    return join(this.root, 'lock');
  }

  get names(): string {
    return join(this.root, 'names');
  }

  get exits(): string {
    return join(this.root, 'exits');
  }

  get events(): string {
    return join(this.root, 'events.log');
  }

  get base(): string {
    return join(this.root, 'base');
  }

  name(name: string): string {
    return join(this.names, name);
  }

  container(id: string): string {
    return join(this.root, id);
  }

  config(id: string): string {
    return join(this.root, id, 'config.json');
  }

  state(id: string): string {
    return join(this.root, id, 'state.json');
  }

  writable(id: string): string {
    return join(this.root, id, 'writable.qcow2');
  }

  log(id: string): string {
    return join(this.root, id, 'container.log');
  }

  supervisorLog(id: string): string {
    return join(this.root, id, 'supervisor.log');
  }

  process(id: string): string {
    return join(this.runtime, id);
  }
}
