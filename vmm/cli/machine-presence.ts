import type { ControlledMachine } from '../api/control/control-surface.ts';
import type { ApiServer } from '../api/http/api-server.ts';
import { MachineFolder } from '../api/machines/machine-folder.ts';
import { removeDeadMachines } from '../api/machines/running-machines.ts';
import { errorText } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';

/** How other processes find the machine of this one, and control it. */
export class MachinePresence {
  readonly name: string;
  readonly startedMs = Date.now() - Math.round(process.uptime() * 1000);
  readonly #folder: MachineFolder;
  #server: ApiServer | undefined;

  private constructor(folder: MachineFolder) {
    this.name = folder.name;
    this.#folder = folder;
    // However the process ends. What remains after SIGKILL is removed by the next command.
    process.once('exit', () => this.close());
  }

  /** The machine's folder. */
  get path(): string {
    return this.#folder.path;
  }

  /**
   * Takes the name of a machine.
   * @throws TsvmError as {@link MachineFolder.claim}
   */
  static async open(name: string, logPath?: string): Promise<MachinePresence> {
    const folder = await MachineFolder.claim(name);
    const presence = new MachinePresence(folder);
    const { startedMs } = presence;
    folder.writeRecord({ pid: process.pid, startedMs, ...(logPath !== undefined && { logPath }) });
    removeWhatIsLeft();
    return presence;
  }

  /** As {@link open}, for a machine that nobody named: after a failure it runs, but unseen. */
  static async tryOpen(name: string, logger: Logger): Promise<MachinePresence | undefined> {
    try {
      return await MachinePresence.open(name);
    } catch (error) {
      logger.debug(`"tsvm list" will not show this machine: ${errorText(error)}`);
      return undefined;
    }
  }

  /** Serves the control API. A failure is logged. @returns whether it succeeded */
  async listen(target: ControlledMachine, logger: Logger): Promise<boolean> {
    if (this.#server !== undefined) return true;
    const { ApiServer } = await import('../api/http/api-server.ts');
    const server = new ApiServer(async () => {
      const { controlSurface } = await import('../api/control/control-surface.ts');
      return [controlSurface(target)];
    });
    this.#server = server;
    try {
      await server.listen(this.#folder.socketPath);
      return true;
    } catch (error) {
      logger.warn(`the machine cannot be controlled by other processes: ${errorText(error)}`);
      return false;
    }
  }

  /** Gives up the name. Idempotent. */
  close(): void {
    this.#server?.close();
    try {
      this.#folder[Symbol.dispose]();
    } catch {
      // It is removed by the next command.
    }
  }
}

/** Of machines that were killed. Whatever fails does not concern the new machine. */
function removeWhatIsLeft(): void {
  try {
    removeDeadMachines();
  } catch {}
}
