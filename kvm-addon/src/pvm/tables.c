#include "tables.h"

#include <errno.h>
#include <stdlib.h>

#include "counters.h"
#include "tables_internal.h"

int tables_init(struct engine *engine)
{
    struct tables *tables = calloc(1, sizeof(*tables));
    engine->tables = tables;
    if (!tables)
        return -ENOMEM;
    tables->engine = engine;
    pthread_mutex_init(&tables->lock, NULL);
    pthread_mutex_init(&tables->executing, NULL);
    roots_init(tables);
    return nodes_init(tables);
}

void tables_destroy(struct engine *engine)
{
    struct tables *tables = engine->tables;
    if (!tables)
        return;
    nodes_destroy(tables);
    pthread_mutex_destroy(&tables->executing);
    pthread_mutex_destroy(&tables->lock);
    free(tables);
    engine->tables = NULL;
}

void tables_reset(struct tables *tables)
{
    /* Current native runs continue to create shadows of tables that are no longer tracked. */
    tables->unsure |= tables->native_cpus;
    roots_reset(tables);
    nodes_reset(tables);
    zap_everything(tables);
}

static void root_changed(struct tables *tables, struct table_node *node, unsigned index,
                         uint64_t now)
{
    unsigned slot = node->owner;
    /* Most likely the page is no longer a table. If it is, it is scanned again at its next use. */
    if (!root_is_loaded(tables, slot)) {
        root_unpin(tables, slot);
        return;
    }
    if (index >= LOWER_HALF)
        return;
    root_entry_changed(tables, slot, index, now);
    /* A process ends. */
    if (tables->roots[slot].present == 0 && tables->roots[slot].running == 0)
        root_unpin(tables, slot);
}

static void table_changed(struct tables *tables, struct table_node *node, uint64_t gpa,
                          uint64_t old, uint64_t now)
{
    unsigned level = node->level;
    if (entry_lost_rights(old, now, level) && node_may_be_shadowed(tables, node))
        zap_entry(tables, node, gpa);
    uint32_t before = entry_table(tables, old, level), after = entry_table(tables, now, level);
    if (before == after)
        return;
    if (after != NO_FRAME)
        node_reference(tables, after, level - 1, node->owner);
    if (before != NO_FRAME)
        node_unreference(tables, before, level - 1);
}

struct word_result tables_change(struct cpu *cpu, uint64_t gpa, uint64_t *word,
                                 const struct word_change *change)
{
    struct tables *tables = cpu->engine->tables;
    uint32_t frame = (uint32_t)(gpa >> 12);
    pthread_mutex_lock(&tables->lock);
    struct word_result result = word_apply(word, change);
    if (result.now != result.old) {
        cpu->counters->table_writes++;
        /* Nodes are only freed by node_work(): the chain stays as it is. */
        for (struct table_node *node = node_first(tables, frame); node;
             node = node_next(tables, node)) {
            if (!node->scanned)
                continue; /* when it is, it is as it is then */
            if (node->level == ROOT_LEVEL)
                root_changed(tables, node, gpa >> 3 & (TABLE_ENTRIES - 1), result.now);
            else
                table_changed(tables, node, gpa, result.old, result.now);
        }
        for (unsigned i = 0; i < WORK_AFTER_WRITE && node_work(tables, cpu, false); i++)
            ;
    }
    links_unpin(tables, cpu->index);
    pthread_mutex_unlock(&tables->lock);
    return result;
}

void tables_frame_written(struct engine *engine, uint64_t frame)
{
    struct tables *tables = engine->tables;
    pthread_mutex_lock(&tables->lock);
    for (struct table_node *node = node_first(tables, (uint32_t)frame); node;
         node = node_next(tables, node)) {
        if (!node->scanned)
            continue;
        if (node->level == ROOT_LEVEL) {
            if (root_is_loaded(tables, node->owner))
                root_sync(tables, node->owner);
            else
                root_unpin(tables, node->owner);
        } else if (node->level == 1) {
            if (node_may_be_shadowed(tables, node))
                zap_table(tables, node);
        } else {
            /* The tables that it referred to are no longer known. */
            tables_reset(tables);
            break;
        }
    }
    pthread_mutex_unlock(&tables->lock);
}

/*
 * Tracks the tables of a root as they are now. Returns its slot; -1: cpu->attention must be handled
 * first, or it is not possible.
 */
static int track_root(struct tables *tables, struct cpu *cpu, uint32_t frame)
{
    bool was_reset = false;
    int slot = -1;
    for (unsigned step = 1;; step++) {
        slot = root_pin(tables, frame);
        bool worked = node_work(tables, cpu, true);
        if (tables->full) {
            if (was_reset)
                return -1;
            tables_reset(tables);
            was_reset = true;
            continue;
        }
        /* Its last work may have been to free another's slot, or this root's. */
        if (!worked && slot >= 0 && node_find(tables, frame, ROOT_LEVEL))
            return slot;
        if (step % WORK_BETWEEN_LOOKS == 0) {
            if (__atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST) < 0)
                return -1;
            pthread_mutex_unlock(&tables->lock);
            pthread_mutex_lock(&tables->lock);
        }
    }
}

static void now_native(struct tables *tables, const struct cpu *cpu)
{
    tables->native_cpus |= 1u << cpu->index;
    __atomic_fetch_add(&tables->engine->native_running, 1, __ATOMIC_SEQ_CST);
}

static void no_longer_native(struct tables *tables, const struct cpu *cpu)
{
    uint32_t self = 1u << cpu->index;
    tables->native_cpus &= ~self;
    if (tables->unsure & self) {
        tables->unsure &= ~self;
        zap_everything(tables);
    }
    /* In this order: code_enter_user() relies on it. */
    __atomic_fetch_add(&tables->engine->native_epoch, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_sub(&tables->engine->native_running, 1, __ATOMIC_SEQ_CST);
}

uint64_t tables_enter_native(struct cpu *cpu)
{
    struct engine *engine = cpu->engine;
    struct tables *tables = engine->tables;
    uint64_t root = cpu->sregs.cr3 & ENTRY_ADDRESS;
    if (!guest_memory_at(engine->memory, root, PAGE_SIZE))
        return 0;
    pthread_mutex_lock(&tables->lock);
    links_unpin(tables, cpu->index);
    /* Shadows of what nobody tracks are still being made. */
    if (tables->unsure)
        zap_everything(tables);
    int slot = track_root(tables, cpu, (uint32_t)(root >> 12));
    if (slot < 0) {
        pthread_mutex_unlock(&tables->lock);
        return 0;
    }
    tables->current[cpu->index] = slot;
    tables->running[cpu->index] = (unsigned)slot;
    tables->roots[slot].running++;
    tables->roots[slot].last_native = ++tables->native_count;
    now_native(tables, cpu);
    pthread_mutex_unlock(&tables->lock);
    return private_region_root_gpa(engine->private_region, (unsigned)slot);
}

void tables_exit_native(struct cpu *cpu)
{
    struct tables *tables = cpu->engine->tables;
    pthread_mutex_lock(&tables->lock);
    struct root_slot *slot = &tables->roots[tables->running[cpu->index]];
    /* Zaps are taken after the run was entered: it left shadows behind them. */
    slot->last_native = ++tables->native_count;
    if (--slot->running == 0 && slot->dropped)
        *slot = (struct root_slot){.frame = NO_FRAME};
    no_longer_native(tables, cpu);
    pthread_mutex_unlock(&tables->lock);
}

void tables_enter_untracked(struct cpu *cpu)
{
    struct tables *tables = cpu->engine->tables;
    pthread_mutex_lock(&tables->lock);
    links_unpin(tables, cpu->index);
    /* Its shadows are of tables that may be tracked for others' roots. */
    tables->unsure |= 1u << cpu->index;
    now_native(tables, cpu);
    pthread_mutex_unlock(&tables->lock);
}

void tables_exit_untracked(struct cpu *cpu)
{
    struct tables *tables = cpu->engine->tables;
    pthread_mutex_lock(&tables->lock);
    no_longer_native(tables, cpu);
    pthread_mutex_unlock(&tables->lock);
}
