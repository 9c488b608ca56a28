import { join } from 'node:path';
import { composeZeroPage } from '../arch/x86_64/boot-params.ts';
import {
  type InitialState,
  linux32State,
  linux64State,
  pvhState,
} from '../arch/x86_64/initial-state.ts';
import {
  BOOT_DATA_END_GPA,
  BOOT_GDT_GPA,
  COMMAND_LINE_AREA_SIZE,
  COMMAND_LINE_GPA,
  e820Map,
  HIGH_MEMORY_GPA,
  lowMemoryEnd,
  PAGE_TABLES_GPA,
  PCI_HOLE_GPA,
  PVH_START_INFO_GPA,
  RESET_VECTOR_GPA,
  ZERO_PAGE_GPA,
} from '../arch/x86_64/layout.ts';
import { BOOT_MSRS } from '../arch/x86_64/msrs.ts';
import { composeIdentityMap } from '../arch/x86_64/page-tables.ts';
import { composePvhStartInfo } from '../arch/x86_64/pvh-start-info.ts';
import { encodeRegs, patchSregs } from '../arch/x86_64/registers.ts';
import { RESET_VECTOR_CODE } from '../arch/x86_64/reset-vector.ts';
import { cacheFolder } from '../host/folders.ts';
import { confineThreads } from '../host/sandbox.ts';
import type { KvmMemory } from '../kvm/memory.ts';
import { type LoadedInitrd, loadInitrd } from '../loader/initrd.ts';
import { type KernelEntry, type LoadedKernel, loadKernel } from '../loader/kernel.ts';
import { encodeCommandLine } from '../loader/kernel-cmdline.ts';
import { type LoadSpace, placePieces } from '../loader/placement.ts';
import { type Logger, NO_LOGGER } from '../observability/logger.ts';
import { attachDevices, beginMachine, unwindAfter } from './assemble-machine.ts';
import { type Assembly, type ConsoleBackend, NO_CONSOLE } from './assembly.ts';
import type { BootMetrics } from './boot-metrics.ts';
import { type BootSource, fileSource } from './boot-source.ts';
import { commandLine } from './command-line.ts';
import { type MachineConfig, type ResolvedConfig, resolveConfig } from './config.ts';
import { describeHardware } from './hardware-tables.ts';
import { hostProfile } from './host-profile.ts';
import { checkCpuMask, checkKernelEntry, chooseKernelMode } from './kernel-mode.ts';
import type { MachineHandle } from './machine.ts';
import { cpuidOf } from './vcpu-features.ts';

/** The environment of a boot. */
export interface BootContext {
  /** Default: output is discarded, and there is no input. */
  readonly console?: ConsoleBackend;
  /** Default: messages are discarded. */
  readonly logger?: Logger;
  readonly metrics?: BootMetrics;
  /** Aborts the boot: it rejects with the signal's reason after everything has been released. */
  readonly signal?: AbortSignal;
}

/**
 * Creates a machine that is ready to start.
 * @throws TsvmError for problems that the user can fix; everything has been released then
 */
export async function bootMachine(
  config: MachineConfig,
  context: BootContext = {},
): Promise<MachineHandle> {
  return (await bootAssembly(config, context)).machine;
}

/** The whole boot from top to bottom. Like {@link bootMachine}, but returns all parts. */
export async function bootAssembly(
  config: MachineConfig,
  { console = NO_CONSOLE, logger = NO_LOGGER, metrics, signal }: BootContext,
): Promise<Assembly> {
  const resolved = resolveConfig(config);
  if (resolved.sandbox) confineThreads();
  const kernelMode = chooseKernelMode(hostProfile(resolved.devicePath), resolved.engine);
  checkCpuMask(kernelMode, resolved.cpuMask);
  metrics?.hostProbed(kernelMode);

  const undo = new AsyncDisposableStack();
  try {
    const assembly = await beginMachine(resolved, kernelMode, {
      console,
      logger,
      onProgress: (value, timeMs) => metrics?.stamp(value, timeMs),
    });
    undo.defer(() => assembly.machine.close());
    // While KVM creates the VM.
    const images = await openImages(resolved, logger, signal);
    undo.defer(() => images.close());
    metrics?.stage('kernel-loaded');
    signal?.throwIfAborted();
    const { entry, image } = images.kernel;
    const warning = checkKernelEntry(kernelMode, image.name, entry);
    if (warning !== undefined) logger.warn(warning);
    placeImages(assembly.memory, images);
    await attachDevices(assembly);
    loadBoot(assembly, images);
    images.close();
    await assembly.ready();
    if (resolved.gdb !== undefined) {
      const { attachDebugger } = await import('./debugger.ts');
      attachDebugger(assembly, resolved.gdb);
    }
    metrics?.stage('machine-ready');
    return assembly;
  } catch (error) {
    await unwindAfter(undo, logger);
    throw error;
  }
}

/** The open files to load into a machine's memory. */
interface BootImages {
  readonly kernel: LoadedKernel;
  readonly initrd: LoadedInitrd | undefined;
  /** The command line of a boot entry of the first disk. */
  readonly entryLine: string | undefined;
  /** Idempotent. */
  close(): void;
}

async function openImages(
  config: ResolvedConfig,
  logger: Logger,
  signal: AbortSignal | undefined,
): Promise<BootImages> {
  const source = await bootSource(config, logger);
  const { memoryBytes } = config;
  const space: LoadSpace = {
    // A kernel may be linked as low as 1 MiB. Below that are the boot tables.
    startGpa: Math.max(BOOT_DATA_END_GPA, HIGH_MEMORY_GPA),
    endGpa: lowMemoryEnd(memoryBytes),
    endGpaMax: PCI_HOLE_GPA,
  };
  const cache = cacheFolder();
  const kernel = await loadKernel({
    from: source.kernel,
    space,
    ...(cache !== undefined && { cacheDirectory: join(cache, 'kernels') }),
    ...(signal && { signal }),
  });
  using opened = new DisposableStack();
  opened.defer(() => kernel.image.close());
  for (const warning of kernel.warnings) logger.warn(warning);
  let initrd: LoadedInitrd | undefined;
  if (source.initrds.length > 0) {
    initrd = loadInitrd(source.initrds, kernel, space);
    opened.defer(initrd.close);
    for (const warning of initrd.warnings) logger.warn(warning);
  }
  const files = opened.move();
  return { kernel, initrd, entryLine: source.entryLine, close: () => files.dispose() };
}

/** @throws TsvmError `no-kernel-on-disk`, and as `openDisk` does */
async function bootSource(config: ResolvedConfig, logger: Logger): Promise<BootSource> {
  if (config.kernelPath !== undefined) return fileSource(config, config.kernelPath);
  // Loaded on demand: other boots need none of the readers of file systems.
  const { diskBootSource } = await import('./disk-boot-source.ts');
  return diskBootSource(config, logger);
}

/** Loads the boot images into fresh memory. */
function placeImages(memory: KvmMemory, { kernel, initrd }: BootImages): void {
  const mapper = memory.shared ? undefined : memory;
  placePieces(kernel.pieces, kernel.image, memory, mapper);
  for (const { pieces, image } of initrd?.parts ?? []) placePieces(pieces, image, memory, mapper);
}

/** Tells the boot images what machine this is and prepares the vCPUs to run them. */
function loadBoot(assembly: Assembly, { kernel, initrd, entryLine }: BootImages): void {
  const { config, kernelMode, memory, placements, host } = assembly;
  const commandLineText = commandLine(config, kernelMode, placements.mmio, entryLine);
  host.logger.debug(`kernel command line: ${commandLineText}`);
  // The kernel may accept a longer line than there is room for.
  const lineMaxBytes = Math.min(kernel.commandLineMaxBytes, COMMAND_LINE_AREA_SIZE - 1);
  memory.write(COMMAND_LINE_GPA, encodeCommandLine(commandLineText, lineMaxBytes));
  memory.write(RESET_VECTOR_GPA, RESET_VECTOR_CODE);
  const rsdpGpa = describeHardware(memory, config, placements);
  writeBootData(assembly, kernel, initrd, rsdpGpa);
  setUpVcpus(assembly, kernel);
}

/** Writes the data that the kernel gets at its entry point, according to its boot protocol. */
function writeBootData(
  { memory, config }: Assembly,
  { entry }: LoadedKernel,
  initrd: LoadedInitrd | undefined,
  rsdpGpa: number | undefined,
): void {
  const content = {
    memoryMap: e820Map(config.memoryBytes, { hasPciBus: config.transport === 'pci' }),
    commandLineGpa: COMMAND_LINE_GPA,
    ...(initrd && { initrd: { gpa: initrd.gpa, sizeBytes: initrd.sizeBytes } }),
    ...(rsdpGpa !== undefined && { rsdpGpa }),
  };
  if (entry.protocol === 'pvh') {
    memory.write(PVH_START_INFO_GPA, composePvhStartInfo({ ...content, gpa: PVH_START_INFO_GPA }));
    return;
  }
  const { setupHeader, codeGpa } = entry;
  const zeroPage = composeZeroPage({
    ...content,
    ...(setupHeader && { setupHeader }),
    ...(codeGpa !== undefined && { codeGpa }),
  });
  memory.write(ZERO_PAGE_GPA, zeroPage);
  memory.write(PAGE_TABLES_GPA, composeIdentityMap(PAGE_TABLES_GPA));
}

const ENTRY_STATES: Record<KernelEntry['protocol'], (rip: number) => InitialState> = {
  linux64: linux64State,
  linux32: linux32State,
  pvh: pvhState,
};

/** Sets all vCPUs' features and the boot vCPU's registers; the others wait for INIT and SIPI. */
function setUpVcpus(assembly: Assembly, { entry }: LoadedKernel): void {
  const { vm, memory, config } = assembly;
  setUpCpuid(assembly);
  for (let cpu = 0; cpu < config.cpus; cpu++) vm.setMsrs(cpu, BOOT_MSRS);
  const state = ENTRY_STATES[entry.protocol](entry.rip);
  memory.write(BOOT_GDT_GPA, state.gdt);
  vm.setState(0, 'sregs', patchSregs(vm.getState(0, 'sregs'), state.sregs));
  vm.setState(0, 'regs', encodeRegs(state.regs));
}

/** Sets all vCPUs' features, before anything else of them. */
function setUpCpuid(assembly: Assembly): void {
  for (const [cpu, entries] of cpuidOf(assembly).entries()) assembly.vm.setCpuid(cpu, entries);
}
