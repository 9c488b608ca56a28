#include "walk.h"

#define LEVELS_MAX 5
/* A walk gives up after losing this many races with other vCPUs that change an entry. */
#define ATTEMPTS 8

static bool is_canonical(uint64_t address, unsigned levels)
{
    unsigned unused = 64 - (12 + 9 * levels);
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

/* Mask of the page offset for a leaf at this level (0: 4 KiB, 1: 2 MiB, 2: 1 GiB). */
static uint64_t offset_mask(unsigned level)
{
    return (1ull << (12 + 9 * level)) - 1;
}

static bool has_reserved_bits(const struct emu_mmu *mmu, uint64_t entry, unsigned level)
{
    if (entry & EMU_PTE_NO_EXECUTE && !(mmu->efer & EMU_EFER_NXE))
        return true;
    if (level == 0 || !(entry & EMU_PTE_LARGE))
        return false;
    if (level > 2)
        return true;
    /* Bit 12 of a large leaf is its PAT bit. */
    return entry & offset_mask(level) & ~0x1fffull;
}

static uint32_t access_error(const struct emu_mmu *mmu, bool is_write)
{
    return (is_write ? EMU_PF_WRITE : 0) | (mmu->is_user ? EMU_PF_USER : 0);
}

/* `permissions`: the AND of all entries of the walk. */
static bool is_permitted(const struct emu_mmu *mmu, uint64_t permissions, bool is_write)
{
    bool is_user_page = permissions & EMU_PTE_USER;
    if (mmu->is_user && !is_user_page)
        return false;
    if (!mmu->is_user && is_user_page && mmu->cr4 & EMU_CR4_SMAP && !mmu->allow_access)
        return false;
    if (!is_write || permissions & EMU_PTE_WRITABLE)
        return true;
    return !mmu->is_user && !(mmu->cr0 & EMU_CR0_WP);
}

struct step {
    uint64_t *entry;
    uint64_t value;
};

/*
 * Sets accessed and dirty bits by compare-and-swap, because a plain OR could modify an entry that
 * another vCPU has just replaced. False: an entry has changed.
 */
static bool mark_used(const struct guest_memory *memory, const struct step *steps, unsigned count,
                      bool is_write)
{
    for (unsigned i = 0; i < count; i++) {
        uint64_t expected = steps[i].value;
        uint64_t marked = expected | EMU_PTE_ACCESSED;
        if (is_write && i == count - 1)
            marked |= EMU_PTE_DIRTY;
        if (marked == expected)
            continue;
        if (!__atomic_compare_exchange_n(steps[i].entry, &expected, marked, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED))
            return false;
        guest_memory_tell_host(memory, steps[i].entry, sizeof *steps[i].entry);
    }
    return true;
}

static enum emu_walk_result walk_once(const struct emu_mmu *mmu, uint64_t address, bool is_write,
                                      unsigned levels, struct emu_page *page)
{
    struct step steps[LEVELS_MAX];
    unsigned count = 0;
    uint64_t permissions = EMU_PTE_WRITABLE | EMU_PTE_USER;
    uint64_t table = mmu->cr3 & EMU_PTE_ADDRESS;

    for (unsigned level = levels; level-- > 0;) {
        page->gpa = table + 8 * (address >> (12 + 9 * level) & 511);
        uint64_t *entry = (uint64_t *)guest_memory_at(mmu->memory, page->gpa, sizeof *entry);
        if (!entry)
            return EMU_WALK_NOT_RAM;
        uint64_t value = __atomic_load_n(entry, __ATOMIC_RELAXED);
        page->error_code = access_error(mmu, is_write);
        if (!(value & EMU_PTE_PRESENT))
            return EMU_WALK_PAGE_FAULT;
        page->error_code |= EMU_PF_PRESENT;
        if (has_reserved_bits(mmu, value, level)) {
            page->error_code |= EMU_PF_RESERVED;
            return EMU_WALK_PAGE_FAULT;
        }
        permissions &= value;
        steps[count++] = (struct step){.entry = entry, .value = value};
        table = value & EMU_PTE_ADDRESS;
        if (level > 0 && !(value & EMU_PTE_LARGE))
            continue;

        if (!is_permitted(mmu, permissions, is_write))
            return EMU_WALK_PAGE_FAULT;
        page->gpa = (table & ~offset_mask(level)) | (address & offset_mask(level));
        page->hva = is_write ? (uint8_t *)guest_memory_at(mmu->memory, page->gpa, 1)
                             : (uint8_t *)guest_memory_readable_at(mmu->memory, page->gpa, 1);
        if (!page->hva)
            return EMU_WALK_NOT_RAM;
        return mark_used(mmu->memory, steps, count, is_write) ? EMU_WALK_OK : EMU_WALK_RACED;
    }
    return EMU_WALK_NOT_RAM; /* not reached: the last level is always a leaf */
}

enum emu_walk_result emu_walk(const struct emu_mmu *mmu, uint64_t address, bool is_write,
                              struct emu_page *page)
{
    unsigned levels = mmu->cr4 & EMU_CR4_LA57 ? 5 : 4;

    if (!is_canonical(address, levels))
        return EMU_WALK_NON_CANONICAL;
    enum emu_walk_result result = EMU_WALK_RACED;
    for (unsigned attempt = 0; attempt < ATTEMPTS && result == EMU_WALK_RACED; attempt++)
        result = walk_once(mmu, address, is_write, levels, page);
    return result;
}
