import { join } from 'node:path';
import { composeZeroPage } from '../arch/x86_64/boot-params.ts';
import { cpuidEntries } from '../arch/x86_64/cpuid.ts';
import { linux64State, pvhState } from '../arch/x86_64/initial-state.ts';
import {
  BOOT_DATA_END_GPA,
  BOOT_GDT_GPA,
  COMMAND_LINE_AREA_SIZE,
  COMMAND_LINE_GPA,
  e820Map,
  HIGH_MEMORY_GPA,
  lowMemoryEnd,
  memoryRegions,
  PAGE_TABLES_GPA,
  PCI_HOLE_GPA,
  PVH_START_INFO_GPA,
  ZERO_PAGE_GPA,
} from '../arch/x86_64/layout.ts';
import { BOOT_MSRS } from '../arch/x86_64/msrs.ts';
import { composeIdentityMap } from '../arch/x86_64/page-tables.ts';
import { composePvhStartInfo } from '../arch/x86_64/pvh-start-info.ts';
import { encodeRegs, patchSregs } from '../arch/x86_64/registers.ts';
import { cacheFolder } from '../host/folders.ts';
import { KVM_CAP_TSC_DEADLINE_TIMER } from '../kvm/capabilities.ts';
import { checkKvmExtension, type KernelMode } from '../kvm/host.ts';
import { KvmMemory } from '../kvm/memory.ts';
import { type LoadedInitrd, loadInitrd } from '../loader/initrd.ts';
import { type LoadedKernel, loadKernel } from '../loader/kernel.ts';
import { encodeCommandLine } from '../loader/kernel-cmdline.ts';
import { type LoadSpace, placePieces } from '../loader/placement.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import type { BootMetrics } from './boot-metrics.ts';
import { commandLine } from './command-line.ts';
import { type MachineConfig, validateConfig } from './config.ts';
import { describeHardware } from './hardware-tables.ts';
import { hostProfile } from './host-profile.ts';
import { checkCpuMask, chooseKernelMode } from './kernel-mode.ts';
import { attachLegacyDevices, type SerialEnd } from './legacy-devices.ts';
import { Machine } from './machine.ts';
import { attachVirtioDevices } from './virtio-devices.ts';

/** What a boot needs besides the configuration. */
export interface BootContext {
  readonly console: SerialEnd;
  readonly logger: Logger;
  readonly metrics: BootMetrics;
  /** Breaks the boot off: it rejects with the signal's reason, and nothing is left behind. */
  readonly signal?: AbortSignal;
}

/**
 * Makes a machine that is ready to start: the whole boot, top to bottom.
 * @throws TsvmError for whatever the host or the user has to mend; nothing is left behind then
 */
export async function bootMachine(config: MachineConfig, context: BootContext): Promise<Machine> {
  const { logger, metrics, signal } = context;
  validateConfig(config);
  const kernelMode = chooseKernelMode(hostProfile(config.devicePath), config.engine);
  checkCpuMask(kernelMode, config.cpuMask);
  metrics.stage('host-probed');

  const space: LoadSpace = {
    // A kernel may be linked as low as 1 MiB; below are the tables that we leave for it.
    startGpa: Math.max(BOOT_DATA_END_GPA, HIGH_MEMORY_GPA),
    endGpa: lowMemoryEnd(config.memoryBytes),
    endGpaMax: PCI_HOLE_GPA,
  };
  const cache = cacheFolder();
  const kernel = await loadKernel({
    path: config.kernelPath,
    space,
    ...(cache !== undefined && { cacheDirectory: join(cache, 'kernels') }),
    ...(signal && { signal }),
  });
  for (const warning of kernel.warnings) logger.warn(warning);
  metrics.stage('kernel-loaded');

  const images = new DisposableStack();
  const undo = new AsyncDisposableStack();
  undo.defer(() => images.dispose());
  try {
    images.defer(() => kernel.image.close());
    let initrd: LoadedInitrd | undefined;
    if (config.initrdPath !== undefined) {
      const loaded = loadInitrd(config.initrdPath, kernel, space);
      images.defer(() => loaded.image.close());
      if (loaded.warning !== undefined) logger.warn(loaded.warning);
      initrd = loaded;
    }
    signal?.throwIfAborted();
    const machine = createMachine(config, kernelMode, logger);
    undo.defer(() => machine.close());
    attachLegacyDevices(machine, config, context.console, metrics);
    const virtio = await attachVirtioDevices(machine, config);
    const commandLineText = commandLine(config, kernelMode, virtio);
    logger.debug(`kernel command line: ${commandLineText}`);

    const { memory } = machine;
    placePieces(kernel.pieces, kernel.image, memory, memory);
    if (initrd !== undefined) placePieces(initrd.pieces, initrd.image, memory, memory);
    // However much the kernel says that it takes, no more has a place.
    const lineMaxBytes = Math.min(kernel.commandLineMaxBytes, COMMAND_LINE_AREA_SIZE - 1);
    memory.write(COMMAND_LINE_GPA, encodeCommandLine(commandLineText, lineMaxBytes));
    const rsdpGpa = describeHardware(memory, config, virtio);
    writeBootData(machine, config, kernel, initrd, rsdpGpa);
    setUpVcpus(machine, config, kernel);
    images.dispose();
    metrics.stage('machine-ready');
    return machine;
  } catch (error) {
    // What went wrong first is what is told; what goes wrong now is said besides.
    await unwind(undo).catch((failure: unknown) => logger.error(String(failure)));
    throw error;
  }
}

function createMachine(config: MachineConfig, kernelMode: KernelMode, logger: Logger): Machine {
  const memory = new KvmMemory(memoryRegions(config.memoryBytes));
  try {
    return new Machine({
      devicePath: config.devicePath,
      memory,
      cpus: config.cpus,
      kernelMode,
      logger,
    });
  } catch (error) {
    memory.close();
    throw error;
  }
}

/** Writes what the kernel is handed at its entry, as its protocol wants it. */
function writeBootData(
  { memory }: Machine,
  config: MachineConfig,
  { entry }: LoadedKernel,
  initrd: LoadedInitrd | undefined,
  rsdpGpa: number | undefined,
): void {
  const content = {
    memoryMap: e820Map(config.memoryBytes),
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

/** The features of every vCPU, and the boot vCPU's registers; the others wait for INIT and SIPI. */
function setUpVcpus(machine: Machine, config: MachineConfig, { entry }: LoadedKernel): void {
  const { vm, memory } = machine;
  const supported = vm.supportedCpuid();
  const tscDeadlineTimer = checkKvmExtension(config.devicePath, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  for (let cpu = 0; cpu < config.cpus; cpu++) {
    const { cpus, cpuMask: mask } = config;
    vm.setCpuid(cpu, cpuidEntries(supported, { cpu, cpus, mask, tscDeadlineTimer }));
    vm.setMsrs(cpu, BOOT_MSRS);
  }
  const state = entry.protocol === 'pvh' ? pvhState(entry.rip) : linux64State(entry.rip);
  memory.write(BOOT_GDT_GPA, state.gdt);
  vm.setState(0, 'sregs', patchSregs(vm.getState(0, 'sregs'), state.sregs));
  vm.setState(0, 'regs', encodeRegs(state.regs));
}
