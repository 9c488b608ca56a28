/** A Linux guest whose first program is `guest-programs/vsock_peer.c`, which documents its ports. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { bootMachine, type Machine, type MachineConfig } from '../../vmm/index.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { ConsoleOutput } from './console-output.ts';
import { compileGuestProgram, initrdOf } from './initrd.ts';
import { defaultKernel } from './linux-guest.ts';
import { temporaryFolder } from './tsvm-process.ts';

export const ECHO_PORT = 1000;
export const SUM_PORT = 1001;
export const ZEROES_PORT = 1002;
export const CLOSING_PORT = 1003;
const COMMAND_PORT = 2000;

const SOURCE = join(packageRoot(), 'test/support/guest-programs/vsock_peer.c');

export interface VsockGuest {
  readonly machine: Machine;
  readonly ports: NonNullable<Machine['vsock']>;
  readonly socketPath: string;
  /** Sends a command to the program in the guest. @returns its answer */
  command(line: string): Promise<string>;
}

/** Boots the guest and waits until its program is ready. */
export async function bootVsockGuest(
  test: TestContext,
  config: Partial<MachineConfig> = {},
): Promise<VsockGuest> {
  const folder = temporaryFolder(test);
  const program = join(folder, 'vsock_peer');
  const initrdPath = join(folder, 'initrd');
  const socketPath = join(folder, 'v.sock');
  compileGuestProgram(program, [SOURCE]);
  writeFileSync(initrdPath, initrdOf(program));
  const console = new ConsoleOutput();
  const machine = await bootMachine(
    {
      ...defaultKernel(),
      initrdPath,
      cpus: 2,
      memoryBytes: 512 * 2 ** 20,
      vsock: { socketPath },
      ...config,
    },
    { console },
  );
  test.after(() => machine.close());
  const ports = machine.vsock;
  if (ports === undefined) throw new Error('the machine has no vsock device');
  const { promise, resolve } = Promise.withResolvers<Duplex>();
  ports.listen(COMMAND_PORT, resolve);
  machine.start();
  const ended = machine.ended.then((end) => {
    throw new Error(`the guest ended: ${JSON.stringify(end)}\n${console.text}`);
  });
  const control = await Promise.race([promise, ended]);
  ended.catch(() => {});
  control.on('error', () => {});
  const lines = createInterface({ input: control })[Symbol.asyncIterator]();
  const answer = async () => (await lines.next()).value as string;
  await answer();
  const command = (line: string) => {
    control.write(`${line}\n`);
    return answer();
  };
  return { machine, ports, socketPath, command };
}
