/*
 * KVM's shadow page tables as far as staleness goes: entries of tables are kept once CPL 3 used
 * them natively, until a zap drops them. A miss walks the guest's tables and keeps what it found,
 * below upper levels that are kept already.
 */
#ifndef TSVM_TEST_SHADOW_MODEL_H
#define TSVM_TEST_SHADOW_MODEL_H

#include "engine_fake.h"

/* Frames of RAM, then those of the pool of roots. */
#define SHADOW_FRAMES ((FAKE_MEMORY >> 12) + PRIVATE_ROOTS)

struct shadow_table {
    uint64_t entries[TABLE_LEVELS + 1][TABLE_ENTRIES]; /* 0: none */
};

struct shadow_model {
    struct fake *fake;
    struct shadow_table *tables[SHADOW_FRAMES];
    bool deaf;        /* does not hear of zaps */
    uint64_t zaps[3]; /* counted: entries, tables, everything */
};

struct shadow_access {
    bool fault;
    bool kept; /* by what was kept alone */
    uint64_t gpa;
};

static inline unsigned shadow_frame(uint64_t gpa)
{
    return gpa >= FAKE_REGION ? (unsigned)((gpa - FAKE_REGION) >> 12) + (FAKE_MEMORY >> 12)
                              : (unsigned)(gpa >> 12);
}

static inline bool shadow_is_table(uint64_t gpa)
{
    return gpa < FAKE_MEMORY || (gpa >= FAKE_REGION && gpa < FAKE_REGION + PRIVATE_ROOTS * 4096);
}

static inline uint64_t *shadow_slot(struct shadow_model *model, uint64_t table, unsigned level,
                                    unsigned index)
{
    struct shadow_table **at = &model->tables[shadow_frame(table)];
    if (!*at)
        *at = calloc(1, sizeof(**at));
    return &(*at)->entries[level][index];
}

static inline uint64_t *shadow_guest_entry(struct shadow_model *model, uint64_t table,
                                           unsigned index)
{
    if (table >= FAKE_REGION)
        return (uint64_t *)(model->fake->region.memory + (table - FAKE_REGION)) + index;
    return fake_word(model->fake, table + 8 * index);
}

/* CPL 3 at `va` on the root that tables_enter_native() gave. */
static inline struct shadow_access shadow_access(struct shadow_model *model, uint64_t root,
                                                 uint64_t va, bool is_write)
{
    struct shadow_access access = {.kept = true};
    uint64_t rights = W | U, table = root, entry = 0;
    unsigned level = TABLE_LEVELS;
    /* The processor, on the shadow. */
    for (;; level--) {
        entry = *shadow_slot(model, table, level, entry_index(va, level));
        rights &= entry;
        if (!(entry & P) || entry_is_leaf(entry, level))
            break;
        table = entry & ENTRY_ADDRESS;
    }
    if (entry & P && rights & U && (!is_write || (rights & W && entry & D))) {
        access.gpa =
            (entry & ENTRY_ADDRESS & ~(entry_span(level) - 1)) | (va & (entry_span(level) - 1));
        return access;
    }
    /* KVM, on the guest's tables. */
    access.kept = false;
    uint64_t *path[TABLE_LEVELS + 1];
    rights = W | U;
    table = root;
    for (level = TABLE_LEVELS;; level--) {
        if (!shadow_is_table(table)) {
            access.fault = true;
            return access;
        }
        path[level] = shadow_guest_entry(model, table, entry_index(va, level));
        entry = *path[level];
        rights &= entry;
        uint64_t reserved = model->fake->engine.reserved_bits;
        if (level == TABLE_LEVELS)
            reserved |= PS;
        else if (level > 1 && entry & PS)
            reserved |= (entry_span(level) - 1) & ENTRY_ADDRESS & ~0x1000ull;
        if (!(entry & P) || entry & reserved) {
            access.fault = true;
            return access;
        }
        if (entry_is_leaf(entry, level))
            break;
        table = entry & ENTRY_ADDRESS;
    }
    if (!(rights & U) || (is_write && !(rights & W))) {
        access.fault = true;
        return access;
    }
    table = root;
    for (unsigned at = TABLE_LEVELS; at >= level; at--) {
        *path[at] |= A | (at == level && is_write ? D : 0);
        uint64_t *slot = shadow_slot(model, table, at, entry_index(va, at));
        /* Upper levels that are kept stay, whatever the guest's tables say. */
        if (at == level || !(*slot & P) || entry_is_leaf(*slot, at))
            *slot = *path[at];
        table = *slot & ENTRY_ADDRESS;
    }
    access.gpa =
        (entry & ENTRY_ADDRESS & ~(entry_span(level) - 1)) | (va & (entry_span(level) - 1));
    return access;
}

static inline void shadow_forget(struct shadow_model *model)
{
    for (unsigned i = 0; i < SHADOW_FRAMES; i++) {
        free(model->tables[i]);
        model->tables[i] = NULL;
    }
}

static inline void shadow_zap(struct shadow_model *model, uint64_t zap)
{
    unsigned kind = zap & 7, frame = shadow_frame(zap);
    model->zaps[kind]++;
    if (model->deaf)
        return;
    if (kind == ZAP_ALL) {
        shadow_forget(model);
    } else if (model->tables[frame]) {
        if (kind == ZAP_TABLE)
            memset(model->tables[frame], 0, sizeof(**model->tables));
        else
            for (unsigned level = 1; level <= TABLE_LEVELS; level++)
                model->tables[frame]->entries[level][zap >> 3 & 511] = 0;
    }
}

/* Executes all zaps that wait, `batch` at a time. */
static inline void shadow_zap_waiting(struct shadow_model *model, unsigned batch)
{
    uint64_t zaps[64];
    unsigned count;
    while ((count = tables_take_zaps(&model->fake->engine, zaps, batch)) != 0) {
        for (unsigned i = 0; i < count; i++)
            shadow_zap(model, zaps[i]);
        tables_zaps_done(&model->fake->engine);
    }
}

#endif
