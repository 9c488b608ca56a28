/* What the tests of page-table tracking share: an engine, and a model of KVM's shadows. */
#ifndef TSVM_TEST_TABLES_SETUP_H
#define TSVM_TEST_TABLES_SETUP_H

#include "../../src/pvm/tables_internal.h"
#include "../check.h"
#include "shadow_model.h"

#define VA 0x400000000ull
#define DIRECT 0xffff888000000000ull
#define SPARE 0x800000ull /* RAM that nothing else uses */

static struct fake fake;
static struct shadow_model model;
static struct cpu *cpu;

static inline struct tables *tables(void)
{
    return fake.engine.tables;
}

static inline bool is_table(uint64_t gpa)
{
    return frame_at(&fake.engine.frames, gpa)->flags & FRAME_TABLE;
}

/* A root with the kernel's own mapping, which starts in the same place in all of them. */
static inline void add_root(uint64_t root)
{
    for (unsigned i = 0; i < FAKE_MEMORY >> 21; i++)
        *fake_entry(&fake, FAKE_ROOT, DIRECT + ((uint64_t)i << 21), 2) =
            (uint64_t)i << 21 | P | W | PS | G;
    *fake_word(&fake, root + 8 * entry_index(DIRECT, 4)) =
        *fake_word(&fake, FAKE_ROOT + 8 * entry_index(DIRECT, 4));
}

static inline void start(unsigned cpus)
{
    fake_init(&fake, cpus);
    cpu = fake.cpus;
    model = (struct shadow_model){.fake = &fake};
    add_root(FAKE_ROOT);
    for (unsigned i = 1; i < cpus; i++)
        safepoint_exit(&fake.cpus[i]);
}

static inline void finish(void)
{
    shadow_forget(&model);
    fake_free(&fake);
}

/* As the kernel of a vCPU writes to memory. */
static inline void kernel_store(struct cpu *by, uint64_t gpa, uint64_t value)
{
    CHECK(FAKE_TRY(by, fake_store(by, DIRECT + gpa, 8, value)) == 0);
}

static inline uint64_t enter(struct cpu *by, uint64_t root)
{
    by->sregs.cr3 = root;
    tlb_flush_nonglobal(by);
    return tables_enter_native(by);
}

/*
 * Runs natively for one access; 0: a fault. An access to the next page comes before, so that the
 * upper levels of the shadow are there: else KVM would look at the tables themselves anyway.
 */
static inline uint64_t run(uint64_t root, uint64_t va, bool is_write)
{
    uint64_t ours = enter(cpu, root);
    CHECK(ours != 0);
    shadow_zap_waiting(&model, 64);
    shadow_access(&model, ours, va + PAGE_SIZE, false);
    struct shadow_access access = shadow_access(&model, ours, va, is_write);
    tables_exit_native(cpu);
    return access.fault ? 0 : access.gpa;
}

static inline unsigned take(uint64_t *zaps, unsigned max)
{
    unsigned count = tables_take_zaps(&fake.engine, zaps, max);
    for (unsigned i = 0; i < count; i++)
        shadow_zap(&model, zaps[i]);
    if (count)
        tables_zaps_done(&fake.engine);
    return count;
}

static inline uint64_t gpa_of(const uint64_t *entry)
{
    return (uint64_t)((const uint8_t *)entry - (const uint8_t *)fake_ram(&fake, 0));
}

#endif
