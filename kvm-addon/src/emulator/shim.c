#include "shim.h"

#include <string.h>

#include "walk.h"

#define LAST_ENTRY 511u

/* From firmware/syscall-shim.S. */
extern const uint8_t tsvm_syscall_shim_start[];
extern const uint8_t tsvm_syscall_shim_resume[];
extern const uint8_t tsvm_syscall_shim_end[];

void emu_shim_copy(void *page)
{
    memcpy(page, tsvm_syscall_shim_start,
           (size_t)(tsvm_syscall_shim_end - tsvm_syscall_shim_start));
}

uint64_t emu_shim_resume_offset(void)
{
    return (uint64_t)(tsvm_syscall_shim_resume - tsvm_syscall_shim_start);
}

static uint64_t *last_entry(const struct guest_memory *memory, uint64_t table)
{
    return (uint64_t *)guest_memory_at(memory, table + 8 * LAST_ENTRY, 8);
}

bool emu_shim_map(const struct guest_memory *memory, uint64_t cr3, uint64_t cr4, uint64_t gpa)
{
    const uint64_t mapping = gpa | EMU_PTE_PRESENT | EMU_PTE_WRITABLE | EMU_PTE_USER |
                             EMU_PTE_ACCESSED | EMU_PTE_DIRTY | EMU_PTE_LARGE;
    unsigned above = cr4 & EMU_CR4_LA57 ? 3 : 2; /* levels above the page directory */
    uint64_t *tables[3];
    uint64_t table = cr3 & EMU_PTE_ADDRESS;

    for (unsigned i = 0; i < above; i++) {
        tables[i] = last_entry(memory, table);
        if (!tables[i])
            return false;
        uint64_t value = __atomic_load_n(tables[i], __ATOMIC_RELAXED);
        if (!(value & EMU_PTE_PRESENT) || value & EMU_PTE_LARGE)
            return false;
        table = value & EMU_PTE_ADDRESS;
    }
    uint64_t *directory = last_entry(memory, table);
    if (!directory)
        return false;
    uint64_t found = 0;
    if (!__atomic_compare_exchange_n(directory, &found, mapping, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_SEQ_CST) &&
        found != mapping)
        return false;
    /* The upper levels must permit CPL 3. Other vCPUs may be setting accessed bits in them. */
    for (unsigned i = 0; i < above; i++) {
        __atomic_fetch_or(tables[i], EMU_PTE_USER | EMU_PTE_WRITABLE, __ATOMIC_SEQ_CST);
        guest_memory_tell_host(memory, tables[i], sizeof *tables[i]);
    }
    guest_memory_tell_host(memory, directory, sizeof *directory);
    return true;
}
