/* The pending zaps: entries and tables whose shadows KVM has to drop. */
#include <string.h>

#include "tables.h"
#include "tables_internal.h"

bool entry_lost_rights(uint64_t old, uint64_t now, unsigned level)
{
    const uint64_t granted = ENTRY_WRITABLE | ENTRY_USER | ENTRY_ACCESSED | ENTRY_DIRTY;
    if (!(old & ENTRY_PRESENT))
        return false;
    if (!(now & ENTRY_PRESENT) || (old ^ now) & ENTRY_ADDRESS ||
        entry_is_leaf(old, level) != entry_is_leaf(now, level))
        return true;
    return old & ~now & granted || now & ~old & ENTRY_NO_EXECUTE;
}

static void add(struct tables *tables, uint64_t zap)
{
    if (tables->zap_all)
        return;
    if (tables->zap_count == ZAPS_MAX) {
        zap_everything(tables);
        return;
    }
    tables->zaps[tables->zap_count++] = zap;
    tables->whole_zaps += zap & ZAP_TABLE;
    __atomic_store_n(&tables->zaps_wait, 1, __ATOMIC_SEQ_CST);
}

void zap_everything(struct tables *tables)
{
    tables->zap_all = true;
    tables->zap_count = 0;
    tables->whole_zaps = 0;
    __atomic_store_n(&tables->zaps_wait, 1, __ATOMIC_SEQ_CST);
}

void zap_table(struct tables *tables, struct table_node *node)
{
    if (node->zaps == ZAPS_WHOLE)
        return;
    node->zaps = ZAPS_WHOLE;
    add(tables, (uint64_t)node->frame << 12 | ZAP_TABLE);
}

void zap_entry(struct tables *tables, struct table_node *node, uint64_t gpa)
{
    if (node->zaps == ZAPS_WHOLE)
        return;
    if (node->zaps == ZAPS_TABLE) {
        zap_table(tables, node);
        return;
    }
    node->zaps++;
    add(tables, gpa);
}

void zap_root_entry(struct tables *tables, unsigned slot, unsigned index)
{
    add(tables, private_region_root_gpa(tables->engine->private_region, slot) + 8 * index);
}

void zap_root(struct tables *tables, unsigned slot)
{
    add(tables, private_region_root_gpa(tables->engine->private_region, slot) | ZAP_TABLE);
}

/* Updates the counts of zaps that were taken; after a zap of a table KVM has no shadow of it. */
static void taken(struct tables *tables, uint64_t zap)
{
    uint64_t frame = zap >> 12;
    if (frame >= tables->engine->frames.count)
        return; /* one of our roots */
    for (struct table_node *node = node_first(tables, (uint32_t)frame); node;
         node = node_next(tables, node)) {
        node->zaps = 0;
        if (zap & ZAP_TABLE)
            node->clean = tables->native_count;
    }
}

static unsigned take_all(struct tables *tables, uint64_t *zaps)
{
    for (uint32_t i = 1; i <= tables->node_count; i++) {
        tables->nodes[i].zaps = 0;
        tables->nodes[i].clean = tables->native_count;
    }
    tables->zap_all = false;
    tables->executing_whole = true;
    zaps[0] = ZAP_ALL;
    return 1;
}

static unsigned take(struct tables *tables, uint64_t *zaps, unsigned max)
{
    if (tables->zap_all)
        return take_all(tables, zaps);
    unsigned count = tables->zap_count < max ? tables->zap_count : max;
    memcpy(zaps, tables->zaps, count * sizeof(*zaps));
    for (unsigned i = 0; i < count; i++) {
        taken(tables, zaps[i]);
        tables->whole_zaps -= zaps[i] & ZAP_TABLE;
        tables->executing_whole |= zaps[i] & ZAP_TABLE;
    }
    tables->zap_count -= count;
    memmove(tables->zaps, tables->zaps + count, tables->zap_count * sizeof(*zaps));
    return count;
}

unsigned tables_take_zaps(struct engine *engine, uint64_t *zaps, unsigned max)
{
    struct tables *tables = engine->tables;
    if (!__atomic_load_n(&tables->zaps_wait, __ATOMIC_SEQ_CST))
        return 0;
    pthread_mutex_lock(&tables->executing);
    pthread_mutex_lock(&tables->lock);
    unsigned count = take(tables, zaps, max);
    pthread_mutex_unlock(&tables->lock);
    if (count == 0)
        pthread_mutex_unlock(&tables->executing);
    return count;
}

void tables_zaps_done(struct engine *engine)
{
    struct tables *tables = engine->tables;
    pthread_mutex_lock(&tables->lock);
    tables->executing_whole = false;
    bool more = tables->zap_all || tables->zap_count > 0;
    __atomic_store_n(&tables->zaps_wait, more, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&tables->lock);
    pthread_mutex_unlock(&tables->executing);
}
