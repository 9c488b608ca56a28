import { locateDefaultGuest } from '../../../guest-images/default-guest.ts';
import type { ContainerGuest } from '../../container/containers/start-machine.ts';
import { TsvmError } from '../../errors.ts';

/** The kernel and the agent of all containers. @throws TsvmError `file-unreadable` */
export function containerGuest(): ContainerGuest {
  const guest = locateDefaultGuest();
  if (guest === undefined) {
    throw new TsvmError(
      'file-unreadable',
      'the kernel and the agent of containers are not built: run "npm run setup"',
    );
  }
  return { kernelPath: guest.vmlinuxPath, agentPath: guest.agentInitrdPath };
}
