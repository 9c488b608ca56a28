/** A container's machine with its agent: one that goes on from a template, or one that boots. */
import type { VsockPorts } from '../../backends/vsock/vsock-ports.ts';
import { errorText, TsvmError } from '../../errors.ts';
import type { MachineConfig } from '../../machine/config.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import { OutputRing } from '../../machine/output-ring.ts';
import { restoreMachine } from '../../machine/saved-machine.ts';
import type { Logger } from '../../observability/logger.ts';
import type { Agent } from '../agent/agent.ts';
import {
  deviceMac,
  type MachineParts,
  type MachineShape,
  machineOf,
  netsOf,
} from '../warm-start/machine-shape.ts';
import type { MachineTemplates } from '../warm-start/machine-templates.ts';

/** Waits for the agent of a machine that is about to start. */
export type ConnectAgent = (
  ports: VsockPorts,
  options: { readonly signal: AbortSignal },
) => Promise<Agent>;

export interface BringUpOptions {
  readonly connectAgent: ConnectAgent;
  readonly templates?: MachineTemplates | undefined;
  /** The folder of the template to go on from; undefined: the machine boots. */
  readonly template: string | undefined;
  readonly logger: Logger;
  /** Runs what opens the disks' files; they may be removed before and after. */
  readonly opening: <T>(make: () => Promise<T>) => Promise<T>;
  /** The machine has been started. */
  readonly onStarted: () => void;
}

export interface MachineWithAgent {
  readonly machine: MachineHandle;
  readonly agent: Agent;
  /** It went on from a template, and its network devices have the addresses of {@link deviceMac}. */
  readonly restored: boolean;
}

const CONSOLE_BYTES = 16 * 1024;
/** Time for a guest to boot; on hosts without hardware virtualization it may be slow. */
const BOOT_PATIENCE_MS = 120_000;
/**
 * Time for a restored guest to say hello, which takes some ms; then a machine boots instead, and so do all
 * others for an hour: a host that is only busy must not come to that.
 */
const RESTORE_PATIENCE_MS = 60_000;

const TEMPLATE_FAILURES: ReadonlySet<string> = new Set([
  'invalid-state',
  'kvm-failed',
  'container-failed',
]);

/** @throws TsvmError, AgentError; nothing is left then */
export async function bringUpMachine(
  shape: MachineShape,
  parts: MachineParts,
  options: BringUpOptions,
): Promise<MachineWithAgent> {
  const { logger, template, templates } = options;
  if (template !== undefined) {
    try {
      return await restore(shape, parts, template, options);
    } catch (error) {
      if (!isOfTemplate(error)) throw error;
      templates?.discard(template, errorText(error));
      logger.warn(`its machine boots, as it could not go on from a template: ${errorText(error)}`);
    }
  }
  // What boots a kernel is a sixth of the code, and is not needed for most containers.
  const { bootMachine } = await import('../../machine/boot-machine.ts');
  const console = new GuestConsole();
  const machine = await options.opening(() =>
    bootMachine(machineOf(shape, parts), { console, logger }),
  );
  const agent = await start(machine, console, BOOT_PATIENCE_MS, options);
  return { machine, agent, restored: false };
}

/** What a machine that boots would not meet. */
function isOfTemplate(error: unknown): boolean {
  return !(error instanceof TsvmError) || TEMPLATE_FAILURES.has(error.code);
}

async function restore(
  shape: MachineShape,
  parts: MachineParts,
  folder: string,
  options: BringUpOptions,
): Promise<MachineWithAgent> {
  const console = new GuestConsole();
  const { early, late } = netsOf(parts);
  const nets = early.map((net, index) => ({ ...net, mac: deviceMac(index) }));
  const config: MachineConfig = machineOf(shape, { ...parts, nets });
  const { logger } = options;
  const assembly = await options.opening(() =>
    restoreMachine(config, folder, { console, logger, replacesDisks: true }),
  );
  const { machine } = assembly;
  try {
    for (const net of late) await machine.controls.spareWindows?.addNet(net);
  } catch (error) {
    await machine.close();
    throw error;
  }
  const agent = await start(machine, console, RESTORE_PATIENCE_MS, options);
  try {
    await Promise.all([assembly.ready(), agent.renew()]);
  } catch (error) {
    await machine.close();
    throw error;
  }
  return { machine, agent, restored: true };
}

/** Starts a machine and waits for its agent; closes it if that does not come. */
async function start(
  machine: MachineHandle,
  console: GuestConsole,
  patienceMs: number,
  { connectAgent, onStarted }: BringUpOptions,
): Promise<Agent> {
  try {
    const { vsock } = machine;
    if (vsock === undefined) throw new Error('the machine has no vsock device');
    const waiting = new AbortController();
    const signal = AbortSignal.any([waiting.signal, AbortSignal.timeout(patienceMs)]);
    const connected = connectAgent(vsock, { signal });
    machine.start();
    onStarted();
    const ended = machine.ended.then((end) => {
      connected.catch(() => {});
      waiting.abort();
      const reason = 'message' in end ? end.message : end.reason;
      throw new TsvmError(
        'container-failed',
        `its machine ended while it started (${reason}): ${console.text()}`,
      );
    });
    ended.catch(() => {});
    return await Promise.race([connected, ended]);
  } catch (error) {
    await machine.close();
    throw error;
  }
}

/** The last that a guest's kernel has said. */
class GuestConsole {
  readonly #ring = new OutputRing(CONSOLE_BYTES);

  write(bytes: Uint8Array): boolean {
    this.#ring.write(bytes);
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  startInput(): void {}

  resumeInput(): void {}

  text(): string {
    const bytes: Uint8Array[] = [];
    for (let at = this.#ring.start; at < this.#ring.end; ) {
      const piece = this.#ring.read(at, CONSOLE_BYTES);
      bytes.push(piece);
      at += piece.byteLength;
    }
    return Buffer.concat(bytes)
      .toString('latin1')
      .replace(/[^\x20-\x7e\n]/g, '');
  }
}
