import { isAbsolute } from 'node:path';
import { TsvmError } from '../../errors.ts';
import type { ResolvedConfig } from '../../machine/config.ts';
import type { ConsoleHub } from '../../machine/console-hub.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import {
  type BalloonControls,
  type MachineControls,
  presentConfig,
} from '../../machine/machine-controls.ts';
import type { SandboxState } from '../../machine/process-sandbox.ts';
import { ApiError, type Result } from '../http/operation.ts';
import { OperationsSurface, type UpgradedConnection } from '../http/operations-surface.ts';
import type { Surface } from '../http/surface.ts';
import { describeDevices } from './machine-status.ts';
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
  readonly sandbox: SandboxState;
  /** The machine; undefined while it is being created. */
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
    getPrometheusMetrics: async () => {
      const { prometheusText } = await import('../../machine/prometheus-text.ts');
      return prometheusText(target.name, running(target).metrics());
    },
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
    setDisk: async ({ body: { id, image, limits } }) => {
      const disk = controlOf('disks', id, running(target).controls);
      if (image !== undefined && !isAbsolute(image.path)) {
        throw new ApiError('invalid-request', `${image.path}: give an absolute path`);
      }
      await asApiError(async () => {
        if (image !== undefined) await disk.replaceImage({ ...image, limits });
        else if (limits !== undefined) disk.setRateLimits(limits);
      });
      return undefined;
    },
    setNetwork: async ({ body: { id, linkUp, limits } }) => {
      const network = controlOf('nets', id, running(target).controls);
      await asApiError(() => {
        if (limits !== undefined) network.setRateLimits(limits);
        if (linkUp !== undefined) network.setLink(linkUp);
      });
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
      // The driver of a paused machine gets the event when the machine resumes.
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
  const { config, console, name, version, startedMs, logPath, sandbox } = target;
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
    ...(config.kernelPath !== undefined && { kernelPath: config.kernelPath }),
    ...describeDevices(machine ? presentConfig(config, machine.controls) : config),
    hasPowerButton: config.acpi,
    console: { viewers: console.viewerCount, input: console.writer },
    sandbox,
    ...(logPath !== undefined && { logPath }),
  };
}

const KIND_NAMES = { disks: 'disk', nets: 'network' } as const;

/** @throws ApiError `not-supported` */
function controlOf<K extends keyof typeof KIND_NAMES>(
  kind: K,
  id: string,
  controls: MachineControls,
): MapValue<MachineControls[K]> {
  const all: ReadonlyMap<string, unknown> = controls[kind];
  const control = all.get(id);
  if (control !== undefined) return control as MapValue<MachineControls[K]>;
  const known = [...all.keys()].join(', ') || 'none';
  throw new ApiError(
    'not-supported',
    `the machine has no ${KIND_NAMES[kind]} ${id} (it has: ${known}); disks and networks are chosen ` +
      'at the boot, because adding them to a running machine (hotplug) is not supported yet',
  );
}

type MapValue<M> = M extends ReadonlyMap<string, infer V> ? V : never;

/** @throws ApiError for problems that the user can fix */
async function asApiError(action: () => void | Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    const code = error.code === 'wrong-state' ? 'wrong-state' : 'invalid-request';
    throw new ApiError(code, error.message);
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
