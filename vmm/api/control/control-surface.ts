import { isAbsolute } from 'node:path';
import { TsvmError } from '../../errors.ts';
import type { ResolvedConfig } from '../../machine/config.ts';
import type { ConsoleHub } from '../../machine/console-hub.ts';
import type { MachineHandle } from '../../machine/machine.ts';
import {
  type BalloonControls,
  type HotplugControls,
  type MachineControls,
  type MemoryControls,
  presentConfig,
} from '../../machine/machine-controls.ts';
import type { NetConfig } from '../../machine/net-config.ts';
import type { SandboxState } from '../../machine/process-sandbox.ts';
import { ApiError, type Result } from '../http/operation.ts';
import { OperationsSurface, type UpgradedConnection } from '../http/operations-surface.ts';
import type { FromSchema } from '../http/schema.ts';
import type { Surface } from '../http/surface.ts';
import type { REMOVAL } from './machine-schema.ts';
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
type MemoryStatus = Result<ControlOperations['getMemory']>;
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
      const memoryBytes = presentMemory(target);
      if (targetBytes > memoryBytes) {
        throw new ApiError('invalid-request', `the guest has ${memoryBytes} bytes of memory`);
      }
      requireRunning(running(target));
      balloon.setTarget(targetBytes);
      return balloonStatus(target, balloon);
    },
    getMemory: () => memoryStatus(target, memoryOf(target)),
    setMemory: async ({ body: { targetBytes } }) => {
      const memory = memoryOf(target);
      requireRunning(running(target));
      await asApiError(() => memory.setTarget(targetBytes));
      return memoryStatus(target, memory);
    },
    setDisk: async ({ body: { id, image, limits } }) => {
      const disk = controlOf('disks', id, running(target).controls);
      if (image !== undefined) requireAbsolute(image.path);
      await asApiError(async () => {
        if (image !== undefined) await disk.replaceImage({ ...image, limits });
        else if (limits !== undefined) disk.setRateLimits(limits);
      }, target.sandbox);
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
    addDisk: async ({ body }) => {
      requireAbsolute(body.path);
      const hotplug = hotplugOf(target);
      return { id: await asApiError(() => hotplug.addDisk(body), target.sandbox) };
    },
    removeDisk: ({ body }) => removeDevice(target, 'disks', body),
    addNetwork: async ({ body }) => {
      const hotplug = hotplugOf(target);
      if (target.sandbox.reach === 'process') {
        throw new ApiError(
          'not-supported',
          'a machine in its sandbox can neither start passt nor open tap devices: boot it with --sandbox off',
        );
      }
      // What does not fit its kind is refused by name.
      const network = body as NetConfig;
      return { id: await asApiError(() => hotplug.addNet(network)) };
    },
    removeNetwork: ({ body }) => removeDevice(target, 'nets', body),
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
    memoryBytes: presentMemory(target),
    ...(config.memoryMaxBytes !== undefined && { memoryMaxBytes: config.memoryMaxBytes }),
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
    `the machine has no ${KIND_NAMES[kind]} ${id} (it has: ${known})`,
  );
}

type MapValue<M> = M extends ReadonlyMap<string, infer V> ? V : never;

/** @throws ApiError `not-supported` */
function hotplugOf(target: ControlledMachine): HotplugControls {
  const { hotplug } = running(target).controls;
  if (hotplug !== undefined) return hotplug;
  throw new ApiError(
    'not-supported',
    'disks and networks of this machine cannot be added or removed while it runs: ' +
      'boot it with --transport pci and ACPI',
  );
}

/** Time for a guest to let go of a device, unless the caller says another. */
const REMOVAL_MS = 10_000;

async function removeDevice(
  target: ControlledMachine,
  kind: keyof typeof KIND_NAMES,
  { id, timeoutMs = REMOVAL_MS, force = false }: FromSchema<typeof REMOVAL>,
): Promise<undefined> {
  const hotplug = hotplugOf(target);
  const machine = running(target);
  controlOf(kind, id, machine.controls);
  // The guest of a paused machine cannot let go of anything.
  if (!force) requireRunning(machine);
  await asApiError(() => hotplug.remove(id, { timeoutMs, force }));
  return undefined;
}

/** @throws ApiError `invalid-request` */
function requireAbsolute(path: string): void {
  if (!isAbsolute(path)) throw new ApiError('invalid-request', `${path}: give an absolute path`);
}

/** @throws ApiError for problems that the user can fix */
async function asApiError<T>(action: () => T | Promise<T>, sandbox?: SandboxState): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    const code = error.code === 'wrong-state' ? 'wrong-state' : 'invalid-request';
    // Root's sandbox does not even see other files.
    const isKeptOut = sandbox?.reach === 'process' && /EACCES|ENOENT/.test(error.message);
    const advice = '; the machine’s sandbox allows what --sandbox on,files=PATH of its boot names';
    throw new ApiError(code, isKeptOut ? error.message + advice : error.message);
  }
}

/** @throws ApiError `not-supported` */
function balloonOf(target: ControlledMachine): BalloonControls {
  const { balloon } = running(target).controls;
  if (balloon !== undefined) return balloon;
  throw new ApiError('not-supported', 'the machine has no balloon: boot it with --balloon');
}

/** @throws ApiError `not-supported` */
function memoryOf(target: ControlledMachine): MemoryControls {
  const { memory } = running(target).controls;
  if (memory !== undefined) return memory;
  throw new ApiError(
    'not-supported',
    'the machine has no maximum of memory: boot it with --memory SIZE,max=SIZE',
  );
}

function memoryStatus({ config }: ControlledMachine, memory: MemoryControls): MemoryStatus {
  const { maxBytes, targetBytes, actualBytes } = memory;
  return { minBytes: config.memoryBytes, maxBytes, targetBytes, actualBytes };
}

/** What the guest has, in bytes. */
function presentMemory(target: ControlledMachine): number {
  return target.current()?.controls.memory?.actualBytes ?? target.config.memoryBytes;
}

function balloonStatus(target: ControlledMachine, balloon: BalloonControls): BalloonStatus {
  const { targetBytes, actualBytes, statistics } = balloon;
  return { memoryBytes: presentMemory(target), targetBytes, actualBytes, statistics };
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
