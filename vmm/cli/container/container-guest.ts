import { locateDefaultGuest } from '../../../guest-images/default-guest.ts';
import type { ContainerGuest } from '../../container/warm-start/machine-shape.ts';
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
  const { kernelPath, vmlinuxPath, modulesPath, agentInitrdPath } = guest;
  // An ELF file needs not be looked up in the cache of unpacked kernels.
  return { kernelPath: vmlinuxPath ?? kernelPath, modulesPath, agentPath: agentInitrdPath };
}
