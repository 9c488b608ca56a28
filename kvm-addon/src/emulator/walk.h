/*
 * Walks the guest's page tables (long mode, 4 or 5 levels) as the MMU does for a data access,
 * including permissions and accessed and dirty bits. The guest controls the tables: trust nothing.
 */
#ifndef TSVM_EMULATOR_WALK_H
#define TSVM_EMULATOR_WALK_H

#include "../memory/guest_memory.h"

/* Page-fault error code bits (Intel SDM volume 3, 4.7). */
#define EMU_PF_PRESENT (1u << 0)
#define EMU_PF_WRITE (1u << 1)
#define EMU_PF_USER (1u << 2)
#define EMU_PF_RESERVED (1u << 3)

/* Page-table entry bits (Intel SDM volume 3, 4.5). */
#define EMU_PTE_PRESENT (1ull << 0)
#define EMU_PTE_WRITABLE (1ull << 1)
#define EMU_PTE_USER (1ull << 2)
#define EMU_PTE_ACCESSED (1ull << 5)
#define EMU_PTE_DIRTY (1ull << 6)
#define EMU_PTE_LARGE (1ull << 7)
#define EMU_PTE_NO_EXECUTE (1ull << 63)
#define EMU_PTE_ADDRESS 0x000ffffffffff000ull

/* Control-register bits that change a walk. */
#define EMU_CR0_WP (1ull << 16)
#define EMU_CR4_LA57 (1ull << 12)
#define EMU_CR4_SMAP (1ull << 21)
#define EMU_EFER_NXE (1ull << 11)

/* The CPU state that a walk depends on. */
struct emu_mmu {
    const struct guest_memory *memory;
    uint64_t cr0;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t efer;
    bool is_user;      /* CPL 3 */
    bool allow_access; /* RFLAGS.AC: overrides SMAP */
};

enum emu_walk_result {
    EMU_WALK_OK,
    EMU_WALK_PAGE_FAULT,
    EMU_WALK_NON_CANONICAL,
    EMU_WALK_NOT_RAM, /* a table or the page itself is not in RAM */
    EMU_WALK_RACED,   /* another vCPU keeps changing an entry: retry later */
};

struct emu_page {
    uint8_t *hva;        /* host address; valid to the end of the 4 KiB page */
    uint64_t gpa;        /* guest-physical address; also set for EMU_WALK_NOT_RAM */
    uint32_t error_code; /* for EMU_WALK_PAGE_FAULT */
};

enum emu_walk_result emu_walk(const struct emu_mmu *mmu, uint64_t address, bool is_write,
                              struct emu_page *page);

#endif
