import { TsvmError } from '../../errors.ts';
import { ApiClient } from '../http/api-client.ts';
import { CONTAINER_API, CONTAINER_OPERATIONS, type ContainerOperations } from './operations.ts';

/** Calls the process that runs a container. Every method throws TsvmError. */
export class ContainerClient extends ApiClient<ContainerOperations> {
  /**
   * @param folder of its process, see ContainerFolders
   * @param id for messages
   */
  constructor(folder: string, id: string) {
    const unreachable = (reason: string) =>
      new TsvmError(
        'machine-unreachable',
        `the container ${id} cannot be reached (${reason}): if it hangs, run "tsvm rm -f ${id}"`,
      );
    const refused = (code: string | undefined, message: string) =>
      new TsvmError(code === 'wrong-state' ? 'container-conflict' : 'container-failed', message);
    super(CONTAINER_API, CONTAINER_OPERATIONS, { folder, unreachable, refused });
  }
}
