/** What runs on the emulated hosts. A device's tests with a guest are added here, in any host. */

export interface HostPlan {
  readonly name: string;
  /** QEMU's name of the processor. */
  readonly cpu: string;
  /** Test files, relative to the package's root. */
  readonly files: readonly string[];
}

/**
 * A processor with AMD-V and all else that QEMU emulates, but XSAVE: QEMU 7.2 does not let KVM
 * intercept a guest's XSETBV, and the guest's programs lose registers.
 */
const WITH_AMD_V = 'max,-xsave';

const C_CORE = ['test/hardware/inside/c-core.test.ts'];

/** The longest first: as many run at a time as there are cores. */
export const HOST_PLANS: readonly HostPlan[] = [
  {
    name: 'AMD-V: Linux guests with PCI',
    cpu: WITH_AMD_V,
    files: [
      'test/boot/linux/hotplug.test.ts',
      'test/boot/linux/pci.test.ts',
      'test/container/agent-process.test.ts',
    ],
  },
  {
    name: 'AMD-V: Linux guests',
    cpu: WITH_AMD_V,
    files: [
      'test/boot/linux/shell.test.ts',
      'test/boot/linux/qcow2.test.ts',
      'test/boot/linux/control.test.ts',
      'test/container/restored-machine.test.ts',
    ],
  },
  {
    name: 'AMD-V: disks and the library',
    cpu: WITH_AMD_V,
    files: [
      'test/boot/payload/host.test.ts',
      'test/boot/payload/vcpu-state.test.ts',
      'test/boot/payload/block.test.ts',
      'test/boot/payload/memory-devices.test.ts',
      'test/boot/payload/dirty-pages.test.ts',
      'test/boot/payload/library.test.ts',
      'test/boot/payload/saved-state.test.ts',
    ],
  },
  {
    name: 'AMD-V: machines',
    cpu: WITH_AMD_V,
    // Not serial.test.ts and terminal.test.ts: they are about the host's pipes and its terminal, which
    // no KVM knows of, and take a minute here.
    files: [
      'test/boot/payload/lifecycle.test.ts',
      'test/boot/payload/machine.test.ts',
      'test/boot/payload/kernel-entry.test.ts',
      'test/boot/payload/pvh.test.ts',
      'test/boot/payload/gdb.test.ts',
      'test/boot/payload/tap.test.ts',
      'test/qcow2/kill-machine.test.ts',
    ],
  },
  {
    name: 'AMD-V: hostile guests',
    cpu: WITH_AMD_V,
    files: [
      'test/boot/payload/hostile-devices.test.ts',
      'test/boot/payload/pci.test.ts',
      'test/boot/payload/vsock.test.ts',
    ],
  },
  // Without XSAVE; with AVX and protection keys; with bounds registers besides.
  { name: 'the C core on a plain x86-64', cpu: 'qemu64', files: C_CORE },
  { name: 'the C core on an EPYC Milan', cpu: 'EPYC-Milan', files: C_CORE },
  { name: 'the C core on all that QEMU has', cpu: 'max', files: C_CORE },
];
