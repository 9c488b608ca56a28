/*
 * The pool of root tables that native runs use. A slot's lower half is a copy of the guest's root,
 * so that later changes, by any writer, are found by comparison.
 */
#include <string.h>

#include "tables.h"
#include "tables_internal.h"

/* KVM sets them in the copy, not in the guest's root: there they are set when it is copied. */
#define ENTRY_MARKS (ENTRY_ACCESSED | ENTRY_DIRTY)

static uint64_t *copy_of(const struct tables *tables, unsigned slot)
{
    return private_region_root(tables->engine->private_region, slot);
}

static uint64_t *guest_root(const struct tables *tables, unsigned slot)
{
    uint64_t gpa = (uint64_t)tables->roots[slot].frame << 12;
    return guest_memory_at(tables->engine->memory, gpa, PAGE_SIZE);
}

void roots_init(struct tables *tables)
{
    for (unsigned i = 0; i < PRIVATE_ROOTS; i++)
        tables->roots[i] = (struct root_slot){.frame = NO_FRAME};
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        tables->current[i] = -1;
}

bool root_is_loaded(const struct tables *tables, unsigned slot)
{
    if (tables->roots[slot].running > 0)
        return true;
    for (unsigned i = 0; i < tables->engine->cpu_count; i++)
        if (tables->current[i] == (int)slot)
            return true;
    return false;
}

void root_unpin(struct tables *tables, unsigned slot)
{
    struct table_node *node = node_find(tables, tables->roots[slot].frame, ROOT_LEVEL);
    if (!node || node->references == 0)
        return;
    node->references = 0;
    node_queue(tables, node);
}

/* A free slot; otherwise releases the least recently used one. */
static int free_slot(struct tables *tables)
{
    int oldest = -1;
    for (unsigned i = 0; i < PRIVATE_ROOTS; i++) {
        const struct root_slot *slot = &tables->roots[i];
        if (slot->frame == NO_FRAME)
            return (int)i;
        if (slot->running == 0 &&
            (oldest < 0 || slot->last_native < tables->roots[oldest].last_native))
            oldest = (int)i;
    }
    if (oldest >= 0)
        root_unpin(tables, (unsigned)oldest);
    return -1;
}

int root_pin(struct tables *tables, uint32_t frame)
{
    struct table_node *node = node_find(tables, frame, ROOT_LEVEL);
    if (node) {
        /* It was queued to be freed, and writes to it have not been tracked since. */
        if (node->references == 0 && node->scanned)
            root_sync(tables, node->owner);
        node->references = 1;
        return node->owner;
    }
    /* Tables that are yet to be freed may still need their slot's `last_native`. */
    if (tables->work != NO_NODE)
        return -1;
    int slot = free_slot(tables);
    if (slot < 0 || !node_reference(tables, frame, ROOT_LEVEL, (uint16_t)slot))
        return -1;
    tables->roots[slot] = (struct root_slot){.frame = frame};
    uint64_t *copy = copy_of(tables, (unsigned)slot);
    memset(copy, 0, PAGE_SIZE);
    copy[TABLE_ENTRIES - 1] = private_region_root_entry(tables->engine->private_region);
    return slot;
}

void root_release(struct tables *tables, unsigned slot)
{
    const uint64_t *copy = copy_of(tables, slot);
    for (unsigned i = 0; i < LOWER_HALF; i++) {
        uint32_t frame = entry_table(tables, copy[i], ROOT_LEVEL);
        if (frame != NO_FRAME)
            node_unreference(tables, frame, ROOT_LEVEL - 1);
    }
    if (tables->roots[slot].last_native != 0)
        zap_root(tables, slot);
    tables->roots[slot].frame = NO_FRAME;
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        if (tables->current[i] == (int)slot)
            tables->current[i] = -1;
}

void root_entry_changed(struct tables *tables, unsigned slot, unsigned index, uint64_t entry)
{
    uint64_t *copy = &copy_of(tables, slot)[index], old = *copy;
    struct root_slot *root = &tables->roots[slot];
    if (entry & ENTRY_PRESENT && !(entry & ENTRY_ACCESSED)) {
        /*
         * The processor may set it for an access that is never made, so it may be set for one that
         * is made without us.
         */
        uint64_t seen = entry;
        __atomic_compare_exchange_n(&guest_root(tables, slot)[index], &seen, entry | ENTRY_ACCESSED,
                                    false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        entry |= ENTRY_ACCESSED;
    }
    if (((old ^ entry) & ~ENTRY_MARKS) == 0)
        return;
    __atomic_store_n(copy, entry, __ATOMIC_SEQ_CST);
    root->present = (uint16_t)(root->present + (entry & ENTRY_PRESENT) - (old & ENTRY_PRESENT));
    if (entry_lost_rights(old, entry, ROOT_LEVEL) && root->last_native != 0)
        zap_root_entry(tables, slot, index);
    uint32_t before = entry_table(tables, old, ROOT_LEVEL);
    uint32_t after = entry_table(tables, entry, ROOT_LEVEL);
    if (before == after)
        return;
    if (after != NO_FRAME)
        node_reference(tables, after, ROOT_LEVEL - 1, (uint16_t)slot);
    if (before != NO_FRAME)
        node_unreference(tables, before, ROOT_LEVEL - 1);
}

void root_sync(struct tables *tables, unsigned slot)
{
    const uint64_t *root = guest_root(tables, slot);
    for (unsigned i = 0; i < LOWER_HALF; i++)
        root_entry_changed(tables, slot, i, __atomic_load_n(&root[i], __ATOMIC_RELAXED));
}

void roots_reset(struct tables *tables)
{
    for (unsigned i = 0; i < PRIVATE_ROOTS; i++) {
        struct root_slot *slot = &tables->roots[i];
        if (slot->running > 0)
            slot->dropped = true;
        else
            slot->frame = NO_FRAME;
    }
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        tables->current[i] = -1;
}
