import type { KernelMode } from '../kvm/host.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import { Assembly, type MachineHost } from './assembly.ts';
import type { ResolvedConfig } from './config.ts';
import { DEVICE_KINDS } from './device-registry.ts';

/**
 * Makes a machine with all its devices and nothing in its memory.
 * @throws TsvmError for whatever the host or the user has to mend; nothing is left behind then
 */
export async function assembleMachine(
  config: ResolvedConfig,
  kernelMode: KernelMode,
  host: MachineHost,
): Promise<Assembly> {
  const undo = new AsyncDisposableStack();
  try {
    const assembly = new Assembly(config, kernelMode, host);
    undo.defer(() => assembly.machine.close());
    for (const attach of DEVICE_KINDS) await attach(assembly);
    return assembly;
  } catch (error) {
    await unwindAfter(undo, host.logger);
    throw error;
  }
}

/** Undoes what was done before a failure. That is what is told; what goes wrong now is said besides. */
export async function unwindAfter(undo: AsyncDisposableStack, logger: Logger): Promise<void> {
  await unwind(undo).catch((failure: unknown) => logger.error(String(failure)));
}
