import type { KernelMode } from '../kvm/host.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import { Assembly, type MachineHost } from './assembly.ts';
import type { ResolvedConfig } from './config.ts';
import { DEVICE_KINDS } from './device-registry.ts';
import type { PmemFile } from './devices/pmem-files.ts';

/**
 * Creates a machine with all its devices and empty memory.
 * @throws TsvmError for problems that the user can fix; everything has been released then
 */
export async function assembleMachine(
  config: ResolvedConfig,
  kernelMode: KernelMode,
  host: MachineHost,
): Promise<Assembly> {
  const undo = new AsyncDisposableStack();
  try {
    const assembly = await beginMachine(config, kernelMode, host);
    undo.defer(() => assembly.machine.close());
    await attachDevices(assembly);
    return assembly;
  } catch (error) {
    await unwindAfter(undo, host.logger);
    throw error;
  }
}

/**
 * Begins to create a machine: it has its memory, and its VM is created by another thread. It is complete
 * after {@link attachDevices}.
 * @throws TsvmError for problems that the user can fix; everything has been released then
 */
export async function beginMachine(
  config: ResolvedConfig,
  kernelMode: KernelMode,
  host: MachineHost,
): Promise<Assembly> {
  const files = await openPmems(config);
  try {
    return new Assembly(config, kernelMode, host, files);
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

/**
 * Attaches all devices, once the machine's VM is there.
 * @throws TsvmError for problems that the user can fix
 */
export async function attachDevices(assembly: Assembly): Promise<void> {
  assembly.vm.created();
  for (const attach of DEVICE_KINDS) await attach(assembly);
}

/** Their code is loaded only for a machine that has some. */
async function openPmems(config: ResolvedConfig): Promise<readonly PmemFile[]> {
  if (config.pmems.length === 0) return [];
  const { openPmemFiles } = await import('./devices/pmem-files.ts');
  return openPmemFiles(config);
}

/** Releases what was opened before a failure. Further failures are only logged. */
export async function unwindAfter(undo: AsyncDisposableStack, logger: Logger): Promise<void> {
  await unwind(undo).catch((failure: unknown) => logger.error(String(failure)));
}
