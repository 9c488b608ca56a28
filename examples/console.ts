/**
 * Boots a kernel, prints what it writes to its console, types a line once it says something, pauses it
 * for a moment and stops it when the line comes back.
 *
 *     node console.ts KERNEL LINE [PARAMETERS]
 *
 * In a checkout, `npm run setup` builds what this imports; elsewhere, install tsvm's package. It needs
 * Node 24, which the package brings: `npx node console.ts …`.
 */
import { bootMachine, TsvmError } from 'tsvm';

const [, , kernelPath, line = 'hello', appendCmdline] = process.argv;
if (kernelPath === undefined) {
  process.stderr.write('usage: node console.ts KERNEL LINE [PARAMETERS]\n');
  process.exit(2);
}

/** The host's end of the serial console. */
class Console {
  readonly #line: string;
  #text = '';
  #send: (bytes: Uint8Array) => boolean = () => false;
  readonly #greeted = Promise.withResolvers<void>();
  readonly #answered = Promise.withResolvers<void>();
  /** The guest has written something. */
  readonly greeted = this.#greeted.promise;
  /** The guest has written the line. */
  readonly answered = this.#answered.promise;

  constructor(line: string) {
    this.#line = line;
  }

  /** tsvm hands over what the guest writes. True: there is room for more. */
  write(bytes: Uint8Array): boolean {
    this.#text += Buffer.from(bytes).toString();
    process.stdout.write(bytes);
    this.#greeted.resolve();
    if (this.#text.includes(this.#line)) this.#answered.resolve();
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  /** tsvm hands over the function that takes what is typed; it answers false to ask for a pause. */
  startInput(send: (bytes: Uint8Array) => boolean): void {
    this.#send = send;
  }

  resumeInput(): void {}

  type(text: string): void {
    this.#send(Buffer.from(text));
  }
}

const guestConsole = new Console(line);
try {
  const machine = await bootMachine(
    {
      kernelPath,
      memoryBytes: 128 * 2 ** 20,
      ...(appendCmdline !== undefined && { appendCmdline }),
    },
    { console: guestConsole },
  );
  try {
    machine.start();
    await Promise.race([guestConsole.greeted, machine.ended]);
    await machine.pause();
    process.stderr.write(`[the machine is ${machine.state}]\n`);
    machine.resume();
    guestConsole.type(`${line}\n`);
    await Promise.race([guestConsole.answered, machine.ended]);
    machine.stop();
    const end = await machine.ended;
    process.stderr.write(`[the machine has ended: ${end.reason}]\n`);
  } finally {
    await machine.close();
  }
} catch (error) {
  // What the host or the user has to mend is a sentence; anything else is a fault of tsvm.
  if (!(error instanceof TsvmError)) throw error;
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = 1;
}
