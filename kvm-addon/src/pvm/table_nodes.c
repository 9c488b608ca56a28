/* Tracked page tables: a hash table of counted references. */
#include <errno.h>

#include "reserve.h"
#include "tables.h"
#include "tables_internal.h"

static uint32_t bucket_of(const struct tables *tables, uint32_t frame)
{
    return frame * 0x9e3779b1u >> 7 & tables->bucket_mask;
}

int nodes_init(struct tables *tables)
{
    uint64_t limit = tables->engine->frames.count / 4;
    if (limit < TABLES_MIN)
        limit = TABLES_MIN;
    if (limit > TABLES_MAX)
        limit = TABLES_MAX;
    tables->node_limit = (uint32_t)limit;
    uint32_t buckets = 1;
    while (buckets < limit)
        buckets *= 2;
    tables->bucket_mask = buckets - 1;
    tables->nodes = reserve((limit + 1) * sizeof(*tables->nodes));
    tables->buckets = reserve(buckets * sizeof(*tables->buckets));
    return tables->nodes && tables->buckets ? 0 : -ENOMEM;
}

static uint64_t node_bytes(const struct tables *tables)
{
    return (tables->node_limit + 1ull) * sizeof(*tables->nodes);
}

static uint64_t bucket_bytes(const struct tables *tables)
{
    return (tables->bucket_mask + 1ull) * sizeof(*tables->buckets);
}

void nodes_destroy(struct tables *tables)
{
    release(tables->nodes, node_bytes(tables));
    release(tables->buckets, bucket_bytes(tables));
}

uint64_t tables_resident(const struct engine *engine)
{
    const struct tables *tables = engine->tables;
    return reserve_resident(tables->nodes, node_bytes(tables)) +
           reserve_resident(tables->buckets, bucket_bytes(tables));
}

/* From `index` on in a chain. */
static struct table_node *next_of_frame(struct tables *tables, uint32_t index, uint32_t frame)
{
    while (index != NO_NODE && tables->nodes[index].frame != frame)
        index = tables->nodes[index].next;
    return index == NO_NODE ? NULL : &tables->nodes[index];
}

struct table_node *node_first(struct tables *tables, uint32_t frame)
{
    return next_of_frame(tables, tables->buckets[bucket_of(tables, frame)], frame);
}

struct table_node *node_next(struct tables *tables, const struct table_node *node)
{
    return next_of_frame(tables, node->next, node->frame);
}

struct table_node *node_find(struct tables *tables, uint32_t frame, unsigned level)
{
    struct table_node *node = node_first(tables, frame);
    while (node && node->level != level)
        node = node_next(tables, node);
    return node;
}

bool node_may_be_shadowed(const struct tables *tables, const struct table_node *node)
{
    if (node->owner == OWNER_SEVERAL)
        return tables->native_cpus != 0 || tables->native_count > node->clean;
    const struct root_slot *slot = &tables->roots[node->owner];
    return slot->running > 0 || slot->last_native > node->clean;
}

uint32_t entry_table(const struct tables *tables, uint64_t entry, unsigned level)
{
    if (level == 1 || !(entry & ENTRY_PRESENT) || entry_is_leaf(entry, level))
        return NO_FRAME;
    uint64_t gpa = entry & ENTRY_ADDRESS;
    return guest_memory_at(tables->engine->memory, gpa, PAGE_SIZE) ? (uint32_t)(gpa >> 12)
                                                                   : NO_FRAME;
}

void node_queue(struct tables *tables, struct table_node *node)
{
    if (node->queued)
        return;
    node->queued = true;
    node->next_work = tables->work;
    tables->work = (uint32_t)(node - tables->nodes);
}

static struct table_node *add(struct tables *tables, uint32_t frame, unsigned level, uint16_t owner)
{
    uint32_t index = tables->free_nodes;
    if (index != NO_NODE)
        tables->free_nodes = tables->nodes[index].next;
    else if (tables->node_count < tables->node_limit)
        index = ++tables->node_count;
    else
        return NULL;
    uint32_t *bucket = &tables->buckets[bucket_of(tables, frame)];
    struct table_node *node = &tables->nodes[index];
    *node = (struct table_node){
        .clean = tables->native_count,
        .frame = frame,
        .next = *bucket,
        .serial = ++tables->serial,
        .owner = owner,
        .level = (uint8_t)level,
    };
    *bucket = index;
    /* From now on all writes to it are tracked, except those through existing TLB entries. */
    __atomic_fetch_or(&tables->engine->frames.of[frame].flags, FRAME_TABLE, __ATOMIC_SEQ_CST);
    return node;
}

struct table_node *node_reference(struct tables *tables, uint32_t frame, unsigned level,
                                  uint16_t owner)
{
    struct table_node *node = node_find(tables, frame, level);
    if (!node)
        node = add(tables, frame, level, owner);
    if (!node) {
        tables->full = true;
        return NULL;
    }
    node->references++;
    if (!node->scanned)
        node_queue(tables, node);
    if (node->owner != owner && node->owner != OWNER_SEVERAL) {
        node->owner = OWNER_SEVERAL;
        node->spread = true;
        node_queue(tables, node);
    }
    return node;
}

void node_unreference(struct tables *tables, uint32_t frame, unsigned level)
{
    struct table_node *node = node_find(tables, frame, level);
    /* Not counted: CPL 3 wrote to its own tables. */
    if (!node || node->references == 0)
        return;
    if (--node->references == 0)
        node_queue(tables, node);
}

void node_free(struct tables *tables, struct table_node *node)
{
    uint32_t frame = node->frame, index = (uint32_t)(node - tables->nodes);
    uint32_t *link = &tables->buckets[bucket_of(tables, frame)];
    while (*link != index)
        link = &tables->nodes[*link].next;
    *link = node->next;
    node->frame = NO_FRAME;
    node->next = tables->free_nodes;
    tables->free_nodes = index;
    if (!node_first(tables, frame))
        __atomic_fetch_and(&tables->engine->frames.of[frame].flags, ~FRAME_TABLE, __ATOMIC_SEQ_CST);
}

struct table_node *node_take_work(struct tables *tables)
{
    if (tables->work == NO_NODE)
        return NULL;
    struct table_node *node = &tables->nodes[tables->work];
    tables->work = node->next_work;
    node->queued = false;
    return node;
}

void nodes_reset(struct tables *tables)
{
    for (uint32_t i = 1; i <= tables->node_count; i++) {
        uint32_t frame = tables->nodes[i].frame;
        if (frame == NO_FRAME)
            continue;
        __atomic_fetch_and(&tables->engine->frames.of[frame].flags, ~FRAME_TABLE, __ATOMIC_SEQ_CST);
        tables->buckets[bucket_of(tables, frame)] = NO_NODE;
    }
    tables->node_count = 0;
    tables->free_nodes = NO_NODE;
    tables->work = NO_NODE;
    tables->full = false;
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        tables->pins[i].levels = 0;
}
