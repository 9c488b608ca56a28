/**
 * A machine that was saved and goes on in another process. Files of its folder:
 *
 * ```
 * memory    parts of guest memory, mapped copy-on-write, or read; pages of zeroes are missing
 * state     everything else, after its SHA-256
 * ```
 * Both hold what the guest's memory held: only their owner can read them.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { deserialize, serialize } from 'node:v8';
import type { DeviceState } from '../devices/device-state.ts';
import { errorText, TsvmError } from '../errors.ts';
import { confineThreads } from '../host/sandbox.ts';
import { sha256 } from '../host/sha256.ts';
import type { KvmMemory } from '../kvm/memory.ts';
import { NO_LOGGER } from '../observability/logger.ts';
import { assembleMachine, unwindAfter } from './assemble-machine.ts';
import { type Assembly, NO_CONSOLE } from './assembly.ts';
import type { BootContext } from './boot-machine.ts';
import { type MachineConfig, resolveConfig } from './config.ts';
import { hostProfile } from './host-profile.ts';
import { chooseKernelMode } from './kernel-mode.ts';
import { cpuidOf } from './vcpu-features.ts';
import { loadVcpuStates, saveVcpuStates, type VcpuStates } from './vcpu-states.ts';

/** A part of guest memory in the file. */
interface MemoryPart {
  readonly gpa: number;
  readonly lengthBytes: number;
  readonly fileOffset: number;
}

interface SavedState {
  readonly version: number;
  /** What the guest's kernel runs on. */
  readonly kernelMode: string;
  /** Of each vCPU: its guest has chosen code by it. */
  readonly cpuid: readonly Uint8Array[];
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly memory: readonly MemoryPart[];
  readonly vcpus: VcpuStates;
  readonly devices: Readonly<Record<string, DeviceState>>;
}

/** Of {@link SavedState}, and of the order in which memory is stored. */
const VERSION = 1;
/** A large page: memory that is not in the file can have large pages. */
const PART_BYTES = 2 ** 21;
const DIGEST_BYTES = 32;
/** See devices/shares.ts. */
const SHARE_ID = /^share\d+$/;
/** Between these, others have their turn. */
const PARTS_AT_ONCE = 32;

const memoryPath = (folder: string) => join(folder, 'memory');
const statePath = (folder: string) => join(folder, 'state');

/**
 * Saves a paused machine, which can go on or be closed afterwards.
 * @param folder empty; only its owner may read it
 * @throws TsvmError `wrong-state`; Error of node:fs
 */
export async function saveMachine(assembly: Assembly, folder: string): Promise<void> {
  const { config, kernelMode, machine } = assembly;
  const pulledOut = machine.controls.hotplug?.pulledOut ?? [];
  if (pulledOut.length > 0) {
    throw new TsvmError(
      'wrong-state',
      `the guest still has ${pulledOut.join(', ')}, which was removed by force: a machine of its own could ` +
        'not go on without; have the guest let go of it first',
    );
  }
  const devices = machine.saveDevices();
  const vcpus = saveVcpuStates(assembly);
  const fd = openSync(memoryPath(folder), 'wx', 0o600);
  let memory: readonly MemoryPart[];
  try {
    memory = await writeMemory(assembly.memory, fd);
  } finally {
    closeSync(fd);
  }
  const state: SavedState = {
    version: VERSION,
    kernelMode,
    cpuid: cpuidOf(assembly),
    cpus: config.cpus,
    memoryBytes: config.memoryBytes,
    memory,
    vcpus,
    devices,
  };
  const bytes = serialize(state);
  writeFileSync(statePath(folder), Buffer.concat([sha256(bytes), bytes]), {
    flag: 'wx',
    mode: 0o600,
  });
}

async function writeMemory(memory: KvmMemory, fd: number): Promise<MemoryPart[]> {
  const parts: MemoryPart[] = [];
  let fileOffset = 0;
  let count = 0;
  for (const region of memory.regions) {
    const end = region.gpa + region.sizeBytes;
    for (let gpa = region.gpa; gpa < end; gpa += PART_BYTES) {
      const lengthBytes = Math.min(PART_BYTES, end - gpa);
      if (memory.writeOut(gpa, lengthBytes, fd, fileOffset) > 0) {
        parts.push({ gpa, lengthBytes, fileOffset });
        fileOffset += lengthBytes;
      }
      count += 1;
      if (count % PARTS_AT_ONCE === 0) await yieldToOthers();
    }
  }
  // The last part may end with a hole.
  ftruncateSync(fd, fileOffset);
  return parts;
}

export interface RestoreContext extends BootContext {
  /**
   * The disks are other ones than those of the saved machine, of other sizes; the guest is told of these.
   * It must not have used what was on the old ones.
   */
  readonly replacesDisks?: boolean;
}

/**
 * Creates a machine that goes on from where a machine was saved when it is started. Its guest's
 * monotonic clock goes on, too; the wall clock and everything random in the guest are as they were:
 * whoever starts it more than once has to give each guest random numbers of its own. Devices may not be
 * ready to serve yet: await `Assembly.ready()` before the guest uses its networks.
 * @param config that of the saved machine; kernel and command line do not count. It may have shares where
 * that had as many spare windows more: a program in the guest has to bind their driver
 * @throws TsvmError `invalid-state` for one that cannot go on here, and as a boot does; everything has
 * been released then
 */
export async function restoreMachine(
  config: MachineConfig,
  folder: string,
  context: RestoreContext = {},
): Promise<Assembly> {
  const { console = NO_CONSOLE, logger = NO_LOGGER, metrics } = context;
  const resolved = resolveConfig(config);
  if (resolved.sandbox) confineThreads();
  const kernelMode = chooseKernelMode(hostProfile(resolved.devicePath), resolved.engine);
  const state = readState(folder);
  if (state.kernelMode !== kernelMode) refuse('it ran on another kind of host');
  if (state.cpus !== resolved.cpus) refuse(`it has ${state.cpus} vCPUs`);
  if (state.memoryBytes !== resolved.memoryBytes) refuse('it has another size of memory');
  metrics?.stage('kernel-loaded');
  const undo = new AsyncDisposableStack();
  try {
    const assembly = await assembleMachine(resolved, kernelMode, {
      console,
      logger,
      onProgress: (value, timeMs) => metrics?.stamp(value, timeMs),
      ...(context.replacesDisks === true && { replacesDisks: true }),
    });
    undo.defer(() => assembly.machine.close());
    load(assembly, state, folder);
    metrics?.stage('machine-ready');
    return assembly;
  } catch (error) {
    await unwindAfter(undo, logger);
    throw error;
  }
}

function load(assembly: Assembly, state: SavedState, folder: string): void {
  const { machine, memory, vm } = assembly;
  for (const [cpu, entries] of cpuidOf(assembly).entries()) {
    if (Buffer.compare(entries, state.cpuid[cpu] ?? Buffer.alloc(0)) !== 0) {
      refuse('it ran on another processor');
    }
    vm.setCpuid(cpu, entries);
  }
  mapMemory(memory, state.memory, folder);
  loadVcpuStates(vm, state.vcpus);
  machine.loadDevices(state.devices, SHARE_ID);
}

function mapMemory(memory: KvmMemory, parts: readonly MemoryPart[], folder: string): void {
  const fd = openSync(memoryPath(folder), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { size } = fstatSync(fd);
    for (const { gpa, lengthBytes, fileOffset } of joined(parts)) {
      // What is mapped beyond the end of a file ends the process when it is read.
      if (fileOffset + lengthBytes > size) refuse('its memory file is too short');
      // Other processes would not see what is mapped.
      if (memory.shared) memory.readIn(gpa, lengthBytes, fd, fileOffset);
      else memory.mapFile(gpa, lengthBytes, fd, fileOffset);
    }
  } finally {
    closeSync(fd);
  }
}

/** Neighbours in the guest are neighbours in the file. */
function joined(parts: readonly MemoryPart[]): MemoryPart[] {
  const result: MemoryPart[] = [];
  for (const part of parts) {
    const last = result.at(-1);
    if (last !== undefined && last.gpa + last.lengthBytes === part.gpa) {
      result[result.length - 1] = { ...last, lengthBytes: last.lengthBytes + part.lengthBytes };
    } else {
      result.push(part);
    }
  }
  return result;
}

function readState(folder: string): SavedState {
  let file: Buffer;
  try {
    file = readFileSync(statePath(folder));
  } catch (cause) {
    return refuse(errorText(cause));
  }
  const bytes = file.subarray(DIGEST_BYTES);
  if (!sha256(bytes).equals(file.subarray(0, DIGEST_BYTES))) refuse('its file is damaged');
  const state = deserialize(bytes) as SavedState;
  if (state.version !== VERSION) refuse(`it has version ${state.version}, not ${VERSION}`);
  return state;
}

function refuse(problem: string): never {
  throw new TsvmError('invalid-state', `the saved machine cannot go on: ${problem}`);
}
