/*
 * Deferred work after a change of page tables: new tables are scanned for tables below, old ones
 * release them. In steps of one table, so that the lock is never held for long.
 */
#include "safepoint.h"
#include "tables.h"
#include "tables_internal.h"
#include "tlb.h"

static uint64_t *table_at(const struct tables *tables, const struct table_node *node)
{
    return guest_memory_at(tables->engine->memory, (uint64_t)node->frame << 12, PAGE_SIZE);
}

static uint32_t table_in(const struct tables *tables, const struct table_node *node,
                         const uint64_t *table, unsigned index)
{
    return entry_table(tables, __atomic_load_n(&table[index], __ATOMIC_RELAXED), node->level);
}

static void scan(struct tables *tables, struct table_node *node)
{
    node->scanned = true;
    if (node->level == ROOT_LEVEL) {
        root_sync(tables, node->owner);
        return;
    }
    if (node->level == 1)
        return;
    const uint64_t *table = table_at(tables, node);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint32_t frame = table_in(tables, node, table, i);
        if (frame != NO_FRAME)
            node_reference(tables, frame, node->level - 1, node->owner);
    }
}

static void spread(struct tables *tables, struct table_node *node)
{
    node->spread = false;
    if (!node->scanned || node->level == 1)
        return;
    const uint64_t *table = table_at(tables, node);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        uint32_t frame = table_in(tables, node, table, i);
        struct table_node *below =
            frame == NO_FRAME ? NULL : node_find(tables, frame, node->level - 1);
        if (below && below->owner != OWNER_SEVERAL) {
            below->owner = OWNER_SEVERAL;
            below->spread = true;
            node_queue(tables, below);
        }
    }
}

static void let_go(struct tables *tables, struct table_node *node)
{
    if (node->level == ROOT_LEVEL) {
        root_release(tables, node->owner);
        node_free(tables, node);
        return;
    }
    /* If the frame became a table again, KVM would use the old shadow. */
    if (node_may_be_shadowed(tables, node))
        zap_table(tables, node);
    if (node->scanned && node->level > 1) {
        const uint64_t *table = table_at(tables, node);
        for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
            uint32_t frame = table_in(tables, node, table, i);
            if (frame != NO_FRAME)
                node_unreference(tables, frame, node->level - 1);
        }
    }
    node_free(tables, node);
}

/* Drops this vCPU's TLB write entries of the table. Returns whether no other vCPU has any. */
static bool is_guarded(const struct tables *tables, const struct table_node *node, struct cpu *cpu)
{
    const struct frame *frame = &tables->engine->frames.of[node->frame];
    uint32_t writers = __atomic_load_n(&frame->write_cpus, __ATOMIC_SEQ_CST);
    if (writers & 1u << cpu->index)
        tlb_drop_frame_writes(cpu, node->frame);
    return node->guarded || !(writers & ~(1u << cpu->index));
}

/* Releases the lock meanwhile: afterwards the node may have another use. */
static void guard(struct tables *tables, struct table_node *node, struct cpu *cpu)
{
    uint32_t frame = node->frame, serial = node->serial;
    pthread_mutex_unlock(&tables->lock);
    safepoint_protect_frame(cpu, frame);
    pthread_mutex_lock(&tables->lock);
    if (node->frame == frame && node->serial == serial)
        node->guarded = true;
}

bool node_work(struct tables *tables, struct cpu *cpu, bool may_wait)
{
    struct table_node *node = node_take_work(tables);
    if (!node)
        return false;
    if (node->references == 0) {
        let_go(tables, node);
        return true;
    }
    if (!node->scanned && !is_guarded(tables, node, cpu)) {
        node_queue(tables, node);
        if (!may_wait)
            return false;
        guard(tables, node, cpu);
        return true;
    }
    if (!node->scanned)
        scan(tables, node);
    if (node->spread)
        spread(tables, node);
    return true;
}
