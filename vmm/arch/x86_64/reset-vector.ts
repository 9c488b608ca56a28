import { I8042_COMMAND_PORT, I8042_RESET_COMMAND } from './layout.ts';

/**
 * Real-mode code for the reset vector: resets the machine by the i8042. Without EFI, a Linux kernel
 * that has support for it restarts a machine of hardware-reduced ACPI by a jump to the BIOS there
 * (`reboot_init` and `efi_reboot_required` in arch/x86).
 */
export const RESET_VECTOR_CODE: Uint8Array = Uint8Array.of(
  ...[0xb0, I8042_RESET_COMMAND], // mov al, command
  ...[0xe6, I8042_COMMAND_PORT], // out port, al
  0xf4, // hlt
  ...[0xeb, 0xfd], // jmp to hlt
);
