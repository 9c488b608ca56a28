/* Addresses and selectors that the assembly, the C code and the linker script share. */
#ifndef PAYLOAD_LAYOUT_H
#define PAYLOAD_LAYOUT_H

/* Above the first MiB (firmware, loader data) and aligned to a large page. */
#define IMAGE_BASE 0x200000
/* The real-mode start of the application processors: a SIPI names a page below 1 MiB. */
#define TRAMPOLINE_BASE 0x8000

#define CPUS_MAX 32
#define TSS_SIZE 104
/* The task state segments open the image, so that the GDT can be complete when assembled. They
 * share the I/O permission bitmap after the last of them. */
#define TSS_BASE IMAGE_BASE
#define IO_BITMAP_OFFSET (CPUS_MAX * TSS_SIZE)
#define IO_BITMAP_PORTS 0x1000
/* The CPU reads two bytes at a time, so a byte of ones has to follow. */
#define IO_BITMAP_SIZE (IO_BITMAP_PORTS / 8 + 1)

#define SELECTOR_CODE0 0x08
#define SELECTOR_DATA0 0x10
#define SELECTOR_DATA3 0x1b
#define SELECTOR_CODE3 0x23
#define SELECTOR_CODE32 0x28
#define SELECTOR_TSS 0x30

#define EXCEPTION_STUB_SIZE 16
#define EXCEPTION_COUNT 32
#define VECTOR_NMI 2
#define VECTOR_DEVICE 0x40

#define CPL0_STACK_SIZE 4096
#define CPL3_STACK_SIZE 16384

#define LAPIC_BASE 0xfee00000
#define LAPIC_EOI 0xb0

#define BOOT_PROTOCOL_PVH 0
#define BOOT_PROTOCOL_LINUX64 1

#endif
