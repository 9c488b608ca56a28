/** The host's side of the console of a machine that a test boots in its own process. */
import type { ConsoleBackend } from '../../vmm/index.ts';

/** Collects the guest's output. There is no input. */
export class ConsoleOutput implements ConsoleBackend {
  text = '';

  write(bytes: Uint8Array): boolean {
    this.text += Buffer.from(bytes).toString('latin1');
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  startInput(): void {}

  resumeInput(): void {}
}
