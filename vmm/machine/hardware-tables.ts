import { composeAcpiTables } from '../arch/x86_64/acpi/tables.ts';
import { composeMpTable } from '../arch/x86_64/mptable.ts';
import { SLP_TYP_S5 } from '../devices/legacy/acpi-power.ts';
import { CMOS_CENTURY } from '../devices/legacy/cmos-rtc.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { ResolvedConfig } from './config.ts';
import type { PlacementAllocator } from './placement.ts';

/**
 * Writes the tables that describe CPUs, interrupt controllers and devices to the kernel. The MP
 * table is always there: Linux looks for one before it looks at ACPI, and maps and unmaps memory
 * 4,000 times until it knows that there is none. With ACPI it then ignores it.
 * @returns the address of the RSDP; undefined without ACPI
 */
export function describeHardware(
  memory: GuestMemory,
  { acpi, cpus, transport }: ResolvedConfig,
  placements: PlacementAllocator,
): number | undefined {
  const mpTable = composeMpTable(cpus);
  memory.write(mpTable.gpa, mpTable.bytes);
  if (!acpi) return undefined;
  const { rsdpGpa, bytes } = composeAcpiTables({
    cpus,
    virtioMmio: placements.mmio,
    ...(transport === 'pci' && { pciBus: { removableSlotMax: placements.settleRemovable() } }),
    sleepTypeS5: SLP_TYP_S5,
    rtcCenturyRegister: CMOS_CENTURY,
  });
  memory.write(rsdpGpa, bytes);
  return rsdpGpa;
}
