/**
 * The guest-physical memory map: every address that tsvm chooses or a standard fixes, with its
 * reason.
 *
 * ```
 * 0x0000_0500  boot GDT                          \
 * 0x0000_1000  PVH start info, module, memory map |
 * 0x0000_2000  zero page                          | usable RAM: a kernel copies what it needs
 * 0x0000_3000  page tables                        | before it allocates from here
 * 0x0000_9000  boot stack                         |
 * 0x0001_0000  command line                      /
 * 0x0009_fc00  MP table                            reserved
 * 0x000e_0000  ACPI tables                         reserved
 * 0x000f_fff0  reset vector                        reserved
 * 0x0010_0000  RAM: kernel, initrd near the end
 * 0xc000_0000  devices
 * 0x1_0000_0000  RAM beyond 3 GiB, then memory that is added while the machine runs, then files
 * ```
 */
import { TsvmError } from '../../errors.ts';

export const PAGE_SIZE = 0x1000;

/**
 * GDT of a vCPU that enters a kernel. It follows the BIOS data area (0x400..0x4ff), which stays
 * zero: Linux reads the EBDA segment and the size of base memory from there.
 */
export const BOOT_GDT_GPA = 0x500;

/** `struct hvm_start_info` with its module list and memory map, one page. Address 0 means "none". */
export const PVH_START_INFO_GPA = 0x1000;

/** `struct boot_params`, one page. */
export const ZERO_PAGE_GPA = 0x2000;

/** Identity map of the first 4 GiB: one PML4, one page of directory pointers, four directories. */
export const PAGE_TABLES_GPA = 0x3000;
export const PAGE_TABLES_SIZE = 6 * PAGE_SIZE;

/** Top of the boot stack (exclusive), which is one page and grows down. */
export const BOOT_STACK_TOP_GPA = 0xa000;

/** NUL-terminated kernel command line. The area exceeds every kernel's limit (2 KiB on x86 today). */
export const COMMAND_LINE_GPA = 0x10000;
export const COMMAND_LINE_AREA_SIZE = 0x10000;

/** End (exclusive) of the boot data in low memory. */
export const BOOT_DATA_END_GPA = COMMAND_LINE_GPA + COMMAND_LINE_AREA_SIZE;

/**
 * The last KiB of base memory (639 KiB), one of the places where a system looks for the MP floating
 * pointer (Intel MultiProcessor Specification 1.4, section 4). The table follows the pointer.
 */
export const MP_TABLE_GPA = 0x9fc00;
export const MP_TABLE_AREA_SIZE = 0x400;

/** End of base memory; the legacy VGA and ROM area begins. */
export const BASE_MEMORY_END_GPA = 0xa0000;

/**
 * The RSDP, then the ACPI tables. Kernels that are not given the RSDP's address find it by searching
 * 0xe0000..0xfffff on 16-byte boundaries (ACPI 6.5, section 5.2.5.1).
 */
export const ACPI_AREA_GPA = 0xe0000;
export const ACPI_AREA_SIZE = 0x1fff0;
export const RSDP_GPA = ACPI_AREA_GPA;

/** Where a processor starts after a reset, and where a kernel goes to have a BIOS reset the machine. */
export const RESET_VECTOR_GPA = 0xffff0;

/** 1 MiB: end of the area reserved by PC convention; RAM begins here. */
export const HIGH_MEMORY_GPA = 0x100000;

/** 3 GiB..4 GiB is for devices, so that 32-bit addresses reach them; RAM continues above it. */
export const PCI_HOLE_GPA = 0xc0000000;
export const PCI_HOLE_END_GPA = 0x100000000;

/** virtio-mmio devices, one page each; the page at 0xd0000000 stays free. */
export const VIRTIO_MMIO_GPA = 0xd0001000;
export const VIRTIO_MMIO_DEVICE_SIZE = 0x1000;
export const VIRTIO_MMIO_DEVICES_MAX = 255;

/**
 * kvm-pvm hosts only: 2 MiB for code, tables and stacks of tsvm that run inside the VM. They begin
 * with the read-only page of the SYSCALL shim and a page without memory, to which the shim's store
 * exits to the VMM.
 */
export const PVM_REGION_GPA = 0xd8000000;
export const PVM_REGION_SIZE = 0x200000;

/** Configuration spaces of bus 0 (ECAM), and the window for the memory of its devices. */
export const PCI_ECAM_GPA = 0xe0000000;
export const PCI_ECAM_SIZE = 0x100000;
export const PCI_WINDOW_GPA = 0xe1000000;
export const PCI_WINDOW_SIZE = 0x1000000;
/** Devices on bus 0, with the host bridge, and the part of the window that each has at first. */
export const PCI_SLOTS = 32;
export const PCI_BAR_SIZE = 0x8000;
/** Device 0 is the host bridge. */
export const PCI_SLOT_FIRST = 1;

/** The in-kernel IO-APIC and local APICs, at their architectural addresses. */
export const IOAPIC_GPA = 0xfec00000;
export const LAPIC_GPA = 0xfee00000;

/**
 * Pages that KVM uses on Intel hosts without "unrestricted guest": three for a TSS
 * (KVM_SET_TSS_ADDR) and one for an identity map (KVM_SET_IDENTITY_MAP_ADDR). Neither may be RAM.
 */
export const KVM_TSS_GPA = 0xfffbd000;
export const KVM_IDENTITY_MAP_GPA = 0xffffc000;

/** Interrupt lines of KVM's IO-APIC: global system interrupts 0..23, one pin each. */
export const IOAPIC_PINS = 24;

/**
 * I/O ports. 0x3f8, 0x60, 0x64, 0x70 and 0x80 are the PC's standard ports; GSI 4 is COM1's ISA
 * interrupt. Port 0x61 is taken (KVM's PIT).
 */
export const COM1_PORT = 0x3f8;
export const COM1_GSI = 4;
/** The power button's interrupt: ISA's for COM2, which this machine does not have. */
export const POWER_BUTTON_GSI = 3;
/** That of PCI's hotplug: ISA's for LPT2, which is virtio-mmio's on machines without a PCI bus. */
export const PCI_HOTPLUG_GSI = 5;
export const I8042_DATA_PORT = 0x60;
export const I8042_COMMAND_PORT = 0x64;
/** The i8042's command to pulse the reset line. */
export const I8042_RESET_COMMAND = 0xfe;
export const CMOS_PORT = 0x70;
export const BOOT_PROGRESS_PORT = 0x80;
/** PCI's CONFIG_ADDRESS and CONFIG_DATA, four bytes each. */
export const PCI_CONFIG_PORTS = 0xcf8;

/** QEMU's default port; guests learn it from ACPI (QEMU, docs/specs/pvpanic). */
export const PVPANIC_PORT = 0x505;

/** Sleep control and status registers of hardware-reduced ACPI; the FADT holds their addresses. */
export const ACPI_SLEEP_CONTROL_PORT = 0x600;
export const ACPI_SLEEP_STATUS_PORT = 0x601;

/** Registers of PCI's hotplug, three of 32 bits; the DSDT holds their address. */
export const PCI_HOTPLUG_PORTS = 0x610;

/** Smallest guest memory size. */
export const MEMORY_MIN_BYTES = 16 * 2 ** 20;

export interface MemoryRange {
  /** First address, page-aligned. */
  readonly gpa: number;
  /** Length in bytes, whole pages. */
  readonly sizeBytes: number;
}

/**
 * Splits guest memory around the device hole: RAM below 3 GiB, the rest from 4 GiB.
 * @param sizeBytes whole pages, at least {@link MEMORY_MIN_BYTES}
 * @throws TsvmError `invalid-config` for another size
 */
export function memoryRegions(sizeBytes: number): readonly MemoryRange[] {
  if (
    !Number.isSafeInteger(sizeBytes) ||
    sizeBytes < MEMORY_MIN_BYTES ||
    sizeBytes % PAGE_SIZE !== 0
  ) {
    throw new TsvmError(
      'invalid-config',
      `guest memory of ${sizeBytes} bytes: use a multiple of 4096, at least ${MEMORY_MIN_BYTES}`,
    );
  }
  if (sizeBytes <= PCI_HOLE_GPA) return [{ gpa: 0, sizeBytes }];
  return [
    { gpa: 0, sizeBytes: PCI_HOLE_GPA },
    { gpa: PCI_HOLE_END_GPA, sizeBytes: sizeBytes - PCI_HOLE_GPA },
  ];
}

/**
 * Linux adds memory in blocks of 128 MiB, or of 2 GiB on machines with 64 GiB and more. Where one
 * begins, memory that is added begins.
 */
const HOTPLUG_ALIGNMENT = 2 ** 31;
const HOTPLUG_BLOCK_SIZE = 2 ** 27;
const LARGE_MEMORY_SIZE = 2 ** 36;

/**
 * Where memory can be added to a machine while it runs: above all RAM, and in whole blocks of Linux's.
 * @param sizeBytes as of {@link memoryRegions}
 * @param maxBytes what the machine may have then, at least `sizeBytes`
 */
export function hotplugRegion(sizeBytes: number, maxBytes: number): MemoryRange {
  const ramEnd = Math.max(
    ...memoryRegions(sizeBytes).map(({ gpa, sizeBytes: size }) => gpa + size),
  );
  const start = Math.max(ramEnd, PCI_HOLE_END_GPA);
  const blockBytes = sizeBytes < LARGE_MEMORY_SIZE ? HOTPLUG_BLOCK_SIZE : HOTPLUG_ALIGNMENT;
  return {
    gpa: Math.ceil(start / HOTPLUG_ALIGNMENT) * HOTPLUG_ALIGNMENT,
    sizeBytes: Math.ceil((maxBytes - sizeBytes) / blockBytes) * blockBytes,
  };
}

/** Files as memory begin where Linux’s sections of memory do, which older kernels insist on. */
const PMEM_ALIGNMENT = 2 ** 27;

/**
 * Where files of the host are memory: above all RAM, also above what may be added.
 * @param maxBytes as of {@link hotplugRegion}; undefined: nothing can be added
 * @param sizes of the regions, in bytes
 */
export function pmemRegions(
  sizeBytes: number,
  maxBytes: number | undefined,
  sizes: readonly number[],
): readonly MemoryRange[] {
  const added = hotplugRegion(sizeBytes, maxBytes ?? sizeBytes);
  let next = added.gpa + added.sizeBytes;
  return sizes.map((size) => {
    const gpa = Math.ceil(next / PMEM_ALIGNMENT) * PMEM_ALIGNMENT;
    next = gpa + size;
    return { gpa, sizeBytes: size };
  });
}

/** End (exclusive) of the RAM below the device hole. */
export function lowMemoryEnd(sizeBytes: number): number {
  return Math.min(sizeBytes, PCI_HOLE_GPA);
}

/** Address range types: ACPI 6.5, table 15.2. PVH's memory map uses the same numbers. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

/** An entry of the memory map passed to the kernel. */
export interface E820Entry {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly type: typeof E820_RAM | typeof E820_RESERVED;
}

/**
 * The memory map of a guest with `sizeBytes` of memory, in ascending order. Boot data in low memory
 * is plain RAM; the MP and ACPI tables are reserved, because a kernel reads them late, and so are PCI's
 * configuration spaces, because a kernel does not use them otherwise.
 * @throws TsvmError as {@link memoryRegions}
 */
export function e820Map(sizeBytes: number, { hasPciBus = false } = {}): readonly E820Entry[] {
  const regions = memoryRegions(sizeBytes);
  const low: E820Entry[] = [
    { gpa: 0, sizeBytes: MP_TABLE_GPA, type: E820_RAM },
    { gpa: MP_TABLE_GPA, sizeBytes: MP_TABLE_AREA_SIZE, type: E820_RESERVED },
    { gpa: ACPI_AREA_GPA, sizeBytes: ACPI_AREA_SIZE, type: E820_RESERVED },
  ];
  const high = regions.map(({ gpa, sizeBytes: size }): E820Entry => {
    const start = Math.max(gpa, HIGH_MEMORY_GPA);
    return { gpa: start, sizeBytes: gpa + size - start, type: E820_RAM };
  });
  const ecam = { gpa: PCI_ECAM_GPA, sizeBytes: PCI_ECAM_SIZE, type: E820_RESERVED } as const;
  const entries = [...low, ...high, ...(hasPciBus ? [ecam] : [])];
  return entries.toSorted((a, b) => a.gpa - b.gpa);
}
