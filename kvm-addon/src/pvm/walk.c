#include "walk.h"

#include "arch.h"
#include "counters.h"
#include "engine.h"
#include "page_entry.h"

/*
 * An entry that changes under the walk makes it start again, as the processor does when it cannot
 * set an accessed bit. After this many attempts the access gets a page fault, which kernels handle
 * as spurious: another vCPU was faster.
 */
#define WALK_TRIES 16

/* The path of a walk: one entry for each level; `entries[0]` is the root's. */
struct path {
    uint64_t *entries[TABLE_LEVELS];
    uint64_t values[TABLE_LEVELS];
    uint64_t tables[TABLE_LEVELS]; /* guest-physical addresses of the tables */
    unsigned length;
};

static struct walk_result fault(const struct cpu *cpu, const struct walk_request *request,
                                uint32_t bits)
{
    uint32_t error = bits;
    if (request->access == WALK_WRITE)
        error |= PF_WRITE;
    if (request->user)
        error |= PF_USER;
    if (request->access == WALK_EXECUTE &&
        (cpu->sregs.efer & EFER_NXE || cpu->sregs.cr4 & CR4_SMEP))
        error |= PF_FETCH;
    return (struct walk_result){.fault = true, .error = error};
}

static bool has_reserved_bits(const struct cpu *cpu, uint64_t entry, unsigned level)
{
    uint64_t reserved = cpu->engine->reserved_bits;
    if (!(cpu->sregs.efer & EFER_NXE))
        reserved |= ENTRY_NO_EXECUTE;
    if (level == TABLE_LEVELS)
        reserved |= ENTRY_LARGE;
    else if (level > 1 && entry & ENTRY_LARGE)
        /* Address bits below the page's size; bit 12 is PAT. */
        reserved |= (entry_span(level) - 1) & ENTRY_ADDRESS & ~0x1000ull;
    return entry & reserved;
}

/* Sets the accessed bits of the path, and the page's dirty bit. False: an entry has changed. */
static bool set_bits(const struct cpu *cpu, struct path *path, bool dirty)
{
    for (unsigned i = 0; i < path->length; i++) {
        uint64_t value = path->values[i], marked = value | ENTRY_ACCESSED;
        if (dirty && i == path->length - 1)
            marked |= ENTRY_DIRTY;
        if (marked == value)
            continue;
        if (!__atomic_compare_exchange_n(path->entries[i], &value, marked, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_SEQ_CST))
            return false;
        path->values[i] = marked;
        frame_set_flag(frame_at(&cpu->engine->frames, path->tables[i]), FRAME_DIRTY);
    }
    return true;
}

/* False: start again. */
static bool try_walk(const struct cpu *cpu, const struct walk_request *request,
                     struct walk_result *result)
{
    struct path path = {.length = 0};
    uint64_t table = cpu->sregs.cr3 & ENTRY_ADDRESS, entry;
    bool writable = true, user_page = true, no_execute = false;
    unsigned level = TABLE_LEVELS;
    for (;; level--) {
        uint64_t gpa = table + 8 * entry_index(request->va, level);
        uint64_t *at = guest_memory_at(cpu->engine->memory, gpa, 8);
        if (!at) {
            *result = fault(cpu, request, 0);
            return true;
        }
        entry = __atomic_load_n(at, __ATOMIC_RELAXED);
        path.entries[path.length] = at;
        path.values[path.length] = entry;
        path.tables[path.length++] = table;
        if (!(entry & ENTRY_PRESENT)) {
            *result = fault(cpu, request, 0);
            return true;
        }
        if (has_reserved_bits(cpu, entry, level)) {
            *result = fault(cpu, request, PF_PRESENT | PF_RESERVED);
            return true;
        }
        writable &= (entry & ENTRY_WRITABLE) != 0;
        user_page &= (entry & ENTRY_USER) != 0;
        no_execute |= (entry & ENTRY_NO_EXECUTE) != 0;
        if (entry_is_leaf(entry, level))
            break;
        table = entry & ENTRY_ADDRESS;
    }

    bool may_write = writable || (!request->user && !(cpu->sregs.cr0 & CR0_WP));
    bool refused = request->user && !user_page;
    if (request->access == WALK_WRITE)
        refused |= !may_write;
    if (request->access == WALK_EXECUTE)
        refused |= no_execute || (!request->user && user_page && cpu->sregs.cr4 & CR4_SMEP);
    else if (!request->user && user_page && cpu->sregs.cr4 & CR4_SMAP)
        refused |= !request->smap_passes;
    if (refused) {
        *result = fault(cpu, request, PF_PRESENT);
        return true;
    }
    if (!request->probe && !set_bits(cpu, &path, request->access == WALK_WRITE))
        return false;

    uint64_t inside = entry_span(level) - 1;
    *result = (struct walk_result){
        .gpa = (entry & ENTRY_ADDRESS & ~inside) | (request->va & inside),
        .span = inside + 1,
        .writable = may_write && path.values[path.length - 1] & ENTRY_DIRTY,
        .global = entry & ENTRY_GLOBAL,
        .user = user_page,
    };
    return true;
}

struct walk_result walk(struct cpu *cpu, const struct walk_request *request)
{
    struct walk_result result;
    cpu->counters->walks++;
    for (unsigned i = 0; i < WALK_TRIES; i++)
        if (try_walk(cpu, request, &result))
            return result;
    return fault(cpu, request, 0);
}
