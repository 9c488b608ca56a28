import type { KernelMode } from '../kvm/host.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import { Assembly, type MachineHost } from './assembly.ts';
import type { ResolvedConfig } from './config.ts';
import { DEVICE_KINDS } from './device-registry.ts';

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
    const assembly = new Assembly(config, kernelMode, host);
    undo.defer(() => assembly.machine.close());
    for (const attach of DEVICE_KINDS) await attach(assembly);
    return assembly;
  } catch (error) {
    await unwindAfter(undo, host.logger);
    throw error;
  }
}

/** Releases what was opened before a failure. Further failures are only logged. */
export async function unwindAfter(undo: AsyncDisposableStack, logger: Logger): Promise<void> {
  await unwind(undo).catch((failure: unknown) => logger.error(String(failure)));
}
