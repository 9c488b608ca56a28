/* Whether what is kept of page tables is what they are; nothing waits to be done. */
#ifndef TSVM_TEST_TABLES_CHECK_H
#define TSVM_TEST_TABLES_CHECK_H

#include "../../src/pvm/tables_internal.h"
#include "engine_fake.h"

/* Counts the references of tracked tables anew, from what is in memory. */
static inline bool references_are_right(const struct fake *fake)
{
    struct tables *tables = fake->engine.tables;
    static uint32_t counted[FAKE_MEMORY >> 12][TABLE_LEVELS + 1];
    memset(counted, 0, sizeof counted);
    for (uint32_t i = 1; i <= tables->node_count; i++) {
        const struct table_node *node = &tables->nodes[i];
        if (node->frame == NO_FRAME || !node->scanned)
            continue;
        const uint64_t *table = node->level == ROOT_LEVEL
                                    ? private_region_root(&fake->region, node->owner)
                                    : fake_word(fake, (uint64_t)node->frame << 12);
        for (unsigned j = 0; j < (node->level == ROOT_LEVEL ? LOWER_HALF : TABLE_ENTRIES); j++) {
            uint32_t frame = entry_table(tables, table[j], node->level);
            if (frame != NO_FRAME)
                counted[frame][node->level - 1]++;
        }
        if (node->level == ROOT_LEVEL && node->references)
            counted[node->frame][ROOT_LEVEL]++;
    }
    bool right = true;
    for (uint32_t i = 1; i <= tables->node_count; i++) {
        const struct table_node *node = &tables->nodes[i];
        if (node->frame == NO_FRAME || (node->level == ROOT_LEVEL && !node->scanned))
            continue;
        right &= node->references == counted[node->frame][node->level];
        right &= (fake->engine.frames.of[node->frame].flags & FRAME_TABLE) != 0;
        counted[node->frame][node->level] = 0;
    }
    for (unsigned i = 0; i < FAKE_MEMORY >> 12; i++)
        for (unsigned level = 1; level <= TABLE_LEVELS; level++)
            right &= counted[i][level] == 0;
    return right;
}

#endif
