import { resolve } from 'node:path';
import { TsvmError } from '../errors.ts';
import { GdbServer } from '../gdb/server.ts';
import type { DebugTarget } from '../gdb/target.ts';
import { openSocketFile } from '../host/socket-file.ts';
import { listenTcp } from '../host/tcp-sockets.ts';
import { BREAKPOINTS_MAX } from '../kvm/vm.ts';
import type { Assembly } from './assembly.ts';
import type { ResolvedGdb } from './gdb-config.ts';

/** Nobody but the owner. */
const SOCKET_UMASK = 0o177;

/**
 * Lets GDB connect to a machine that was not started.
 * @throws TsvmError `invalid-config`
 */
export function attachDebugger(assembly: Assembly, gdb: ResolvedGdb): void {
  const { machine, kernelMode, host } = assembly;
  if (kernelMode === 'emulator') {
    throw new TsvmError(
      'invalid-config',
      'a debugger needs VT-x, AMD-V or --engine interpreter: KVM’s emulator has no breakpoints',
    );
  }
  const listener = listen(gdb);
  const server = new GdbServer(targetOf(assembly), listener.fd);
  machine.own(() => {
    server.close();
    listener.remove();
  });
  machine.onDebugStop = (stops) => server.stopped(stops);
  void machine.ended.then(({ reason }) => {
    server.ended(reason === 'panic' || reason === 'triple-fault' || reason === 'failed' ? 1 : 0);
  });
  if (gdb.waits) assembly.vm.hold();
  const command = `gdb vmlinux -ex 'target remote ${listener.name(server.port)}'`;
  host.logger.info(`${gdb.waits ? 'the guest waits for' : 'ready for'} a debugger: ${command}`);
}

interface Listener {
  readonly fd: number;
  /** What GDB calls it. @param port that it listens on */
  name(port: number | undefined): string;
  remove(): void;
}

function listen({ socketPath, address, port = 0 }: ResolvedGdb): Listener {
  if (socketPath !== undefined) {
    const before = process.umask(SOCKET_UMASK);
    try {
      const { fd, path, remove } = openSocketFile('the debugger’s socket', resolve(socketPath));
      return { fd, name: () => path, remove };
    } finally {
      process.umask(before);
    }
  }
  const host = address.includes(':') ? `[${address}]` : address;
  try {
    const name = (chosen: number | undefined) => `${host}:${chosen ?? port}`;
    return { fd: listenTcp(address, port), name, remove: () => {} };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new TsvmError(
      'invalid-config',
      `the debugger cannot listen on ${host}:${port} (${code}): choose another port or address`,
      { cause },
    );
  }
}

function targetOf({ vm, machine, memory, config, kernelMode }: Assembly): DebugTarget {
  const isLive = () => machine.state !== 'stopped';
  return {
    cpus: config.cpus,
    memory,
    needsInt3: kernelMode === 'hardware',
    breakpointsMax: BREAKPOINTS_MAX,
    halt: () => machine.hold(),
    resume: (running, stepping) => {
      if (isLive()) vm.release(running, stepping);
    },
    setBreakpoints: (settings) => {
      if (isLive()) vm.setBreakpoints(settings);
    },
    readCpu: (cpu, block) => vm.getState(cpu, block),
    writeCpu: (cpu, block, bytes) => vm.setState(cpu, block, bytes),
    readMsr: (cpu, index) => vm.getMsrs(cpu, [index]).get(index) ?? 0n,
    kill: () => machine.stop(),
  };
}
