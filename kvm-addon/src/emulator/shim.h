/* The SYSCALL shim page and its mapping in a guest's page table. */
#ifndef TSVM_EMULATOR_SHIM_H
#define TSVM_EMULATOR_SHIM_H

#include "../memory/guest_memory.h"

/* Copies the shim (firmware/syscall-shim.S) to the start of a page. */
void emu_shim_copy(void *page);

/* Offset in the page of the instruction after the shim's store. */
uint64_t emu_shim_resume_offset(void);

/*
 * Maps the 2 MiB at `gpa` for CPL 3 at the end of the address space of the page table at `cr3`. All
 * vCPUs share the tables below the root, so only the first call changes them. Returns false,
 * without changes, if a table is missing or outside RAM, or if something else is mapped there.
 */
bool emu_shim_map(const struct guest_memory *memory, uint64_t cr3, uint64_t cr4, uint64_t gpa);

#endif
