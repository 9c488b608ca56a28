import { TsvmError } from '../../errors.ts';
import type { ResolvedConfig, ResolvedDisk } from '../../machine/config.ts';
import type { ConsoleHub } from '../../machine/console-hub.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import type { BalloonControls, DiskControls } from '../../machine/machine-controls.ts';
import { prometheusText } from '../../machine/prometheus-text.ts';
import type { RateLimits } from '../../machine/rate-limits.ts';
import { ApiError, type Result } from '../http/operation.ts';
import { OperationsSurface, type UpgradedConnection } from '../http/operations-surface.ts';
import type { Surface } from '../http/surface.ts';
import {
  CONSOLE_INPUT_HEADER,
  CONTROL_API,
  CONTROL_OPERATIONS,
  type ControlOperations,
} from './operations.ts';

/** A machine under control of the API. */
export interface ControlledMachine {
  readonly name: string;
  readonly version: string;
  readonly startedMs: number;
  readonly logPath?: string | undefined;
  readonly config: ResolvedConfig;
  readonly console: ConsoleHub;
  /** The machine; undefined while it is made. */
  current(): MachineHandle | undefined;
  /** Ends the machine and the process. */
  kill(): void;
}

type BalloonStatus = Result<ControlOperations['getBalloon']>;
type MachineStatus = Result<ControlOperations['getMachine']>;

/** Time to send the answer before the process ends. */
const KILL_DELAY_MS = 10;

export function controlSurface(target: ControlledMachine): Surface {
  return new OperationsSurface(CONTROL_API, CONTROL_OPERATIONS, {
    getMachine: () => status(target),
    pauseMachine: async () => {
      await running(target).pause();
      return status(target);
    },
    resumeMachine: () => {
      running(target).resume();
      return status(target);
    },
    pressPowerButton: () => pressPowerButton(running(target)),
    killMachine: () => {
      setTimeout(() => target.kill(), KILL_DELAY_MS);
      return undefined;
    },
    getMetrics: () => ({ machine: target.name, ...running(target).metrics() }),
    getPrometheusMetrics: () => prometheusText(target.name, running(target).metrics()),
    getBalloon: async () => {
      const balloon = balloonOf(target);
      if (running(target).state === 'running') await balloon.refreshStatistics();
      return balloonStatus(target, balloon);
    },
    setBalloon: ({ body: { targetBytes } }) => {
      const balloon = balloonOf(target);
      const { memoryBytes } = target.config;
      if (targetBytes > memoryBytes) {
        throw new ApiError('invalid-request', `the guest has ${memoryBytes} bytes of memory`);
      }
      requireRunning(running(target));
      balloon.setTarget(targetBytes);
      return balloonStatus(target, balloon);
    },
    setDisk: ({ body: { id, limits } }) => {
      setLimits(controlOf('disk', id, running(target).controls.disks), limits);
      return undefined;
    },
    setNetwork: ({ body: { id, linkUp, limits } }) => {
      const network = controlOf('network', id, running(target).controls.nets);
      if (limits !== undefined) setLimits(network, limits);
      if (linkUp !== undefined) network.setLink(linkUp);
      return undefined;
    },
    attachConsole: (
      { query: { input = 'if-free', replay = Number.MAX_SAFE_INTEGER } },
      connection,
    ) => attachConsole(target.console, connection, input, replay),
    setConsoleSize: ({ body: { columns, rows } }) => {
      const { controls, state } = running(target);
      if (controls.resizeConsole === undefined) {
        throw new ApiError('not-supported', 'a serial console has no size (see --console virtio)');
      }
      // A machine that is paused is told when it goes on.
      if (state !== 'stopped') controls.resizeConsole(columns, rows);
      return undefined;
    },
  });
}

/** @throws ApiError `wrong-state` */
function running(target: ControlledMachine): MachineHandle {
  const machine = target.current();
  if (machine !== undefined) return machine;
  throw new ApiError('wrong-state', 'the machine is still booting: try again');
}

function status(target: ControlledMachine): MachineStatus {
  const { config, console, name, version, startedMs, logPath } = target;
  const machine = target.current();
  const state = machine?.state ?? 'created';
  return {
    name,
    pid: process.pid,
    version,
    state: state === 'created' ? 'booting' : state,
    startedAt: new Date(startedMs).toISOString(),
    cpus: config.cpus,
    memoryBytes: config.memoryBytes,
    kernelPath: config.kernelPath,
    disks: config.disks.map(describeDisk),
    hasPowerButton: config.acpi,
    console: { viewers: console.viewerCount, input: console.writer },
    ...(logPath !== undefined && { logPath }),
  };
}

function describeDisk(disk: ResolvedDisk, index: number): MachineStatus['disks'][number] {
  const id = `disk${index}`;
  if ('files' in disk) return { id, path: disk.files[0] ?? '', readOnly: true };
  return { id, path: disk.path, readOnly: disk.readOnly };
}

/** @throws ApiError `not-supported` */
function controlOf<T>(kind: string, id: string, controls: ReadonlyMap<string, T>): T {
  const control = controls.get(id);
  if (control !== undefined) return control;
  const known = [...controls.keys()].join(', ') || 'none';
  throw new ApiError('not-supported', `the machine has no ${kind} ${id}; it has ${known}`);
}

/** @throws ApiError `invalid-request` */
function setLimits(control: DiskControls, limits: RateLimits): void {
  try {
    control.setRateLimits(limits);
  } catch (error) {
    if (error instanceof TsvmError) throw new ApiError('invalid-request', error.message);
    throw error;
  }
}

/** @throws ApiError `not-supported` */
function balloonOf(target: ControlledMachine): BalloonControls {
  const { balloon } = running(target).controls;
  if (balloon !== undefined) return balloon;
  throw new ApiError('not-supported', 'the machine has no balloon: boot it with --balloon');
}

function balloonStatus({ config }: ControlledMachine, balloon: BalloonControls): BalloonStatus {
  const { targetBytes, actualBytes, statistics } = balloon;
  return { memoryBytes: config.memoryBytes, targetBytes, actualBytes, statistics };
}

/** @throws ApiError `wrong-state` */
function requireRunning({ state }: MachineHandle): void {
  if (state !== 'running') {
    throw new ApiError('wrong-state', `the machine is ${state}: resume it first`);
  }
}

function pressPowerButton(machine: MachineHandle): undefined {
  const { controls } = machine;
  if (controls.pressPowerButton === undefined) {
    throw new ApiError('not-supported', 'the machine has no power button (--acpi off): kill it');
  }
  requireRunning(machine);
  controls.pressPowerButton();
  return undefined;
}

function attachConsole(
  hub: ConsoleHub,
  { socket, head, accept }: UpgradedConnection,
  input: 'if-free' | 'take' | 'none',
  replayBytes: number,
): void {
  const viewer = {
    write: (bytes: Uint8Array) => socket.write(bytes),
    resumeInput: () => socket.resume(),
    end: () => socket.end(),
  };
  const attachment = hub.attach(viewer, input, replayBytes);
  accept({ [CONSOLE_INPUT_HEADER]: attachment.hasInput ? 'yes' : 'no' });
  const pass = (bytes: Uint8Array) => {
    if (!attachment.input(bytes)) socket.pause();
  };
  if (head.byteLength > 0) pass(head);
  socket.on('data', pass);
  socket.on('drain', () => attachment.resumeOutput());
  socket.on('error', () => attachment.detach());
  socket.on('close', () => attachment.detach());
  socket.on('end', () => socket.end());
  attachment.resumeOutput();
}
