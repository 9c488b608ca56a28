/*
 * A table that becomes reachable while CPL 3 runs natively on another vCPU. A change of an entry
 * that was not present needs no flush, so that vCPU may use the table at once, without passing a
 * safe point. KVM finds shadows by frame: it would use a stale one of the frame's former use that
 * is still to be zapped. From then on, changes of the table must be tracked, too. So before the
 * store the table and all tables below it are tracked, and zaps are executed.
 */
#include "tables.h"
#include "tables_internal.h"

static bool is_running(const struct tables *tables, uint16_t owner)
{
    return owner == OWNER_SEVERAL ? tables->native_cpus != 0 : tables->roots[owner].running > 0;
}

static void unpin(struct tables *tables, const struct table_pins *pins)
{
    for (unsigned level = 1; level < ROOT_LEVEL; level++)
        if (pins->levels & 1u << level)
            node_unreference(tables, pins->frame, level);
}

void links_unpin(struct tables *tables, unsigned cpu_index)
{
    unpin(tables, &tables->pins[cpu_index]);
    tables->pins[cpu_index] = (struct table_pins){.levels = 0};
}

/*
 * References the table that an entry is about to link, at all levels at which other vCPUs use it in
 * native runs, and releases what was prepared before. False: at none.
 */
static bool pin(struct tables *tables, unsigned cpu_index, uint64_t gpa, uint64_t old, uint64_t now)
{
    struct table_pins before = tables->pins[cpu_index];
    struct table_pins pins = {.frame = (uint32_t)((now & ENTRY_ADDRESS) >> 12)};
    for (struct table_node *node = node_first(tables, (uint32_t)(gpa >> 12)); node;
         node = node_next(tables, node)) {
        unsigned level = node->level;
        if (!node->scanned || !is_running(tables, node->owner))
            continue;
        if (level == ROOT_LEVEL && (gpa >> 3 & (TABLE_ENTRIES - 1)) >= LOWER_HALF)
            continue;
        uint32_t after = entry_table(tables, now, level);
        if (after == NO_FRAME || after == entry_table(tables, old, level))
            continue;
        if (node_reference(tables, after, level - 1, node->owner))
            pins.levels |= (uint8_t)(1u << (level - 1));
    }
    unpin(tables, &before);
    tables->pins[cpu_index] = pins;
    return pins.levels != 0;
}

bool tables_prepare(struct cpu *cpu, uint64_t gpa, const uint64_t *word,
                    const struct word_change *change)
{
    struct tables *tables = cpu->engine->tables;
    bool zaps = false;
    pthread_mutex_lock(&tables->lock);
    uint64_t old = __atomic_load_n(word, __ATOMIC_SEQ_CST);
    uint64_t now = (old & ~change->mask) | change->value;
    if (pin(tables, cpu->index, gpa, old, now)) {
        for (unsigned i = 0; i < WORK_BETWEEN_LOOKS && node_work(tables, cpu, true); i++)
            ;
        zaps = tables->zap_all || tables->whole_zaps > 0 || tables->executing_whole ||
               tables->work != NO_NODE;
    }
    pthread_mutex_unlock(&tables->lock);
    return zaps;
}
