/*
 * Page-table tracking, case by case: what is tracked and zapped, when that ends, devices, several
 * vCPUs. engine_tables_random_test.c tests combinations.
 */
#include "../../src/pvm/engine_api.h"
#include "tables_setup.h"

/* ---- What is zapped ---- */

static void test_rules(void)
{
    static const struct {
        uint64_t old, now;
        bool zap;
    } cases[] = {
        {0, 0x200000 | P | W | U, false},
        {0x200000, 0x200000 | P, false}, /* not present: nothing to lose */
        {0x200000 | P | U | A, 0x200000 | P | U | W | A, false},
        {0x200000 | P | U, 0x200000 | P | U | A, false},
        {0x200000 | P | U | W | A, 0x200000 | P | U | W | A | D, false},
        {0x200000 | P | U | NX, 0x200000 | P | U, false},
        {0x200000 | P | U | 1ull << 9, 0x200000 | P | U | 1ull << 10, false},
        {0x200000 | P | U, 0, true},
        {0x200000 | P | U, 0x201000 | P | U, true},
        {0x200000 | P | U | W, 0x200000 | P | U, true},
        {0x200000 | P | U, 0x200000 | P, true},
        {0x200000 | P | U | A, 0x200000 | P | U, true},
        {0x200000 | P | U | W | A | D, 0x200000 | P | U | W | A, true},
        {0x200000 | P | U, 0x200000 | P | U | NX, true},
    };
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0);
    uint64_t zaps[4];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        *entry = cases[i].old;
        run(FAKE_ROOT, VA, false);
        *entry = cases[i].old; /* without the bits that the run set */
        kernel_store(cpu, gpa_of(entry), cases[i].now);
        CHECK(*entry == cases[i].now);
        unsigned count = take(zaps, 4);
        if (!CHECK(count == cases[i].zap && (!count || zaps[0] == gpa_of(entry))))
            fprintf(stderr, "case %u\n", i);
    }
    CHECK(cpu->counters->table_writes > 0);
    finish();
}

static void test_root_entries(void)
{
    start(1);
    fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, ROOT_LEVEL), saved = *entry;
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    uint64_t *copy = private_region_root(&fake.region, 0);
    CHECK(copy[0] == *entry && *entry & A);
    CHECK(copy[TABLE_ENTRIES - 1] == private_region_root_entry(&fake.region));
    for (unsigned i = LOWER_HALF; i < TABLE_ENTRIES - 1; i++)
        CHECK(copy[i] == 0);
    /* Our copy is updated, and its entry is zapped, instead of that of the guest's root. */
    kernel_store(cpu, FAKE_ROOT + 8 * 7, saved);
    CHECK(copy[7] == (saved | A));
    kernel_store(cpu, gpa_of(entry), saved & ~W);
    CHECK(copy[0] == ((saved & ~W) | A));
    uint64_t zaps[4];
    CHECK(take(zaps, 4) == 1 && zaps[0] == FAKE_REGION);
    CHECK(run(FAKE_ROOT, VA, true) == 0);
    kernel_store(cpu, gpa_of(entry), saved);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    /* The upper half is the kernel's own. */
    kernel_store(cpu, FAKE_ROOT + 8 * 300, saved);
    CHECK(copy[300] == 0 && take(zaps, 4) == 0);
    finish();
}

static void test_unshadowed_tables_need_no_zap(void)
{
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U), zaps[64];
    /* Not tracked before the first native run. */
    CHECK(!is_table(gpa_of(entry)));
    kernel_store(cpu, gpa_of(entry), 0x201000 | P | W | U);
    CHECK(take(zaps, 64) == 0);
    CHECK(run(FAKE_ROOT, VA, true) == 0x201000);
    CHECK(is_table(gpa_of(entry)) && is_table(FAKE_ROOT));
    /* Many entries: the table as a whole is zapped, once. */
    for (unsigned i = 0; i < 64; i++)
        *fake_map(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, 0x300000 | P | U) |= A;
    for (unsigned i = 0; i < 64; i++)
        kernel_store(cpu, gpa_of(fake_entry(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, 1)), 0);
    CHECK(take(zaps, 64) == ZAPS_TABLE + 1);
    CHECK(zaps[ZAPS_TABLE] == (gpa_of(entry) & PAGE_BASE) + ZAP_TABLE);
    /* After that KVM has no shadow of it until it is used again. */
    kernel_store(cpu, gpa_of(entry), 0x201000 | P | W | U | A);
    kernel_store(cpu, gpa_of(entry), 0);
    CHECK(take(zaps, 64) == 0);
    kernel_store(cpu, gpa_of(entry), 0x202000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x202000);
    kernel_store(cpu, gpa_of(entry), 0);
    CHECK(take(zaps, 64) == 1);
    finish();
}

/* ---- When tables and roots end ---- */

static void test_a_process_ends(void)
{
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U), zaps[64];
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    uint64_t table[TABLE_LEVELS + 1];
    for (unsigned level = 1; level <= TABLE_LEVELS; level++)
        table[level] = gpa_of(fake_entry(&fake, FAKE_ROOT, VA, level));
    /* Like kernels that free page tables, from the lowest level up. */
    for (unsigned level = 1; level <= TABLE_LEVELS; level++) {
        kernel_store(cpu, table[level], 0);
        CHECK(level == 1 || !is_table(table[level - 1]));
    }
    CHECK(!is_table(FAKE_ROOT));
    for (uint32_t i = 1; i <= tables()->node_count; i++)
        CHECK(tables()->nodes[i].frame == NO_FRAME);
    /* Each may become a table again: KVM must not use the old shadow for the new table. */
    unsigned count = take(zaps, 64), whole = 0;
    for (unsigned i = 0; i < count; i++)
        whole += zaps[i] & ZAP_TABLE;
    CHECK(whole == TABLE_LEVELS);
    /* The frames are data again: fast stores. */
    fake_store(cpu, DIRECT + gpa_of(entry), 8, 1);
    CHECK(tlb_write(cpu, DIRECT + gpa_of(entry), 8));
    finish();
}

static void test_a_root_that_is_not_loaded_is_written(void)
{
    start(1);
    fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    add_root(SPARE);
    fake_map(&fake, SPARE, VA, 0x300000 | P | W | U);
    CHECK(run(SPARE, VA, true) == 0x300000);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    CHECK(is_table(SPARE));
    /* It may have become something else. */
    kernel_store(cpu, SPARE + 8 * 400, 0x1234);
    CHECK(!is_table(SPARE));
    /* Or it may not. */
    CHECK(run(SPARE, VA, true) == 0x300000);
    finish();
}

static void test_more_roots_than_the_pool_has(void)
{
    start(1);
    fake.next_table = 0xa00000;
    for (unsigned i = 0; i < 3 * PRIVATE_ROOTS; i++) {
        uint64_t root = SPARE + i * PAGE_SIZE;
        add_root(root);
        /* KVM would use an old shadow of these frames for the new tables, if it still exists. */
        fake_map(&fake, root, VA, (0x200000 + i * PAGE_SIZE) | P | W | U);
        fake_map(&fake, root, VA + PAGE_SIZE, 0x600000 | P | U);
        CHECK(run(root, VA, true) == 0x200000 + i * PAGE_SIZE);
        if (i < PRIVATE_ROOTS)
            continue;
        uint64_t freed = SPARE + (i - PRIVATE_ROOTS) * PAGE_SIZE;
        CHECK(!is_table(freed));
        /* No longer tracked, so changes are not noticed. */
        *fake_map(&fake, freed, VA, 0x700000 | P | W | U) |= A;
        if (i % 16 == 0)
            CHECK(run(freed, VA, true) == 0x700000);
    }
    finish();
}

/* ---- Devices ---- */

static void receive(uint64_t gpa, uint64_t value)
{
    *fake_word(&fake, gpa) = value;
    engine_memory_written(&fake.engine, gpa, 8);
}

static void test_device_writes_to_tables(void)
{
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U), zaps[4];
    fake_map(&fake, FAKE_ROOT, VA + (1ull << 21), 0x202000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    receive(gpa_of(entry), 0x300000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x300000);
    /* A table of tables: all tracking starts again. */
    uint64_t *middle = fake_entry(&fake, FAKE_ROOT, VA, 2);
    receive(gpa_of(middle), middle[1]);
    CHECK(!is_table(FAKE_ROOT));
    CHECK(run(FAKE_ROOT, VA, true) == 0x202000);
    /* The root. */
    uint64_t *root = fake_entry(&fake, FAKE_ROOT, VA, ROOT_LEVEL);
    receive(gpa_of(root), 0);
    CHECK(run(FAKE_ROOT, VA, true) == 0);
    /* A frame that was a table before has no effect. */
    CHECK(take(zaps, 4) == 0);
    receive(gpa_of(middle), 5);
    CHECK(take(zaps, 4) == 0);
    finish();
}

/* ---- Several vCPUs ---- */

/* KVM still has the old shadow of the new table's frame, and a program may use the link
 * immediately. */
static void test_zaps_before_a_link(void)
{
    start(2);
    struct cpu *other = &fake.cpus[1];
    struct insn insn = {.place = 0};
    uint64_t *stale = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    uint64_t *link = fake_entry(&fake, FAKE_ROOT, VA, 2), saved = *link;
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    kernel_store(cpu, gpa_of(link), 0);
    /* In between it was filled again, and nothing ran natively. */
    add_root(SPARE);
    fake_map(&fake, SPARE, VA + (1ull << 21), 0x400000 | P | W | U);
    uint64_t *second = fake_entry(&fake, SPARE, VA, 2);
    safepoint_exit(cpu);
    safepoint_enter(other);
    uint64_t ours = enter(other, SPARE);
    safepoint_exit(other);
    safepoint_enter(cpu);
    CHECK(ours != 0);
    *stale = 0x300000 | P | W | U;
    cpu->sregs.cr3 = SPARE;
    tlb_flush_nonglobal(cpu);
    int why = FAKE_TRY(cpu, access_store(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == INTERPRETED_ATTENTION && cpu->attention & ATTENTION_ZAPS && *second == 0);
    /* Within interpret_once(), it must not seem executed. */
    cpu->once = true;
    why = FAKE_TRY(cpu, access_store(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == INTERPRETED_ONCE && *second == 0);
    cpu->once = false;
    shadow_zap_waiting(&model, 64);
    why = FAKE_TRY(cpu, access_store(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == 0 && *second == saved);
    struct shadow_access access = shadow_access(&model, ours, VA, true);
    CHECK(!access.fault && access.gpa == 0x300000);
    tables_exit_native(other);
    finish();
}

/* Another vCPU had a write entry for the table, and wrote to it after KVM had created a shadow. */
static void test_table_that_was_written_meanwhile(void)
{
    start(3);
    struct cpu *runs = &fake.cpus[1], *writes = &fake.cpus[2];
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U | A | D);
    uint64_t table = gpa_of(entry) & PAGE_BASE;
    uint64_t *link = fake_entry(&fake, FAKE_ROOT, VA, 2), saved = *link;
    *link = 0;
    safepoint_exit(cpu);
    safepoint_enter(writes);
    fake_store(writes, DIRECT + table + 0x800, 8, 0);
    CHECK(tlb_write(writes, DIRECT + table, 8));
    safepoint_exit(writes);
    safepoint_enter(runs);
    uint64_t ours = enter(runs, FAKE_ROOT);
    safepoint_exit(runs);
    safepoint_enter(cpu);
    shadow_zap_waiting(&model, 64);
    CHECK(FAKE_TRY(cpu, fake_store(cpu, DIRECT + gpa_of(link), 8, saved)) == 0);
    CHECK(shadow_access(&model, ours, VA, true).gpa == 0x200000);
    /* It is tracked from the start: the write entry has been removed when its owner comes inside.
     */
    safepoint_exit(cpu);
    safepoint_enter(writes);
    CHECK(!tlb_write(writes, DIRECT + table, 8));
    kernel_store(writes, gpa_of(entry), 0x300000 | P | W | U | A | D);
    safepoint_exit(writes);
    safepoint_enter(cpu);
    tables_exit_native(runs);
    CHECK(run(FAKE_ROOT, VA, true) == 0x300000);
    finish();
}

/*
 * A vCPU that runs natively while all tracking is dropped creates shadows of untracked tables.
 * `ends`: it left before the next native run.
 */
static void native_run_across_a_reset(bool ends)
{
    start(2);
    struct cpu *runs = &fake.cpus[1];
    fake_map(&fake, FAKE_ROOT, VA + PAGE_SIZE, 0x600000 | P | U);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    add_root(SPARE);
    *fake_word(&fake, SPARE) = *fake_word(&fake, FAKE_ROOT); /* shares its tables */
    safepoint_exit(cpu);
    safepoint_enter(runs);
    uint64_t ours = enter(runs, SPARE);
    safepoint_exit(runs);
    safepoint_enter(cpu);
    pthread_mutex_lock(&tables()->lock);
    tables_reset(tables());
    pthread_mutex_unlock(&tables()->lock);
    shadow_zap_waiting(&model, 64);
    CHECK(shadow_access(&model, ours, VA, true).gpa == 0x200000);
    cpu->sregs.cr3 = SPARE;
    tlb_flush_nonglobal(cpu);
    kernel_store(cpu, gpa_of(entry), 0x300000 | P | W | U);
    if (ends)
        tables_exit_native(runs);
    CHECK(run(FAKE_ROOT, VA, true) == 0x300000);
    if (!ends)
        tables_exit_native(runs);
    kernel_store(cpu, gpa_of(entry), 0x400000 | P | W | U);
    CHECK(run(SPARE, VA, true) == 0x400000);
    for (unsigned i = 0; i < PRIVATE_ROOTS; i++)
        CHECK(!tables()->roots[i].dropped && tables()->roots[i].running == 0);
    finish();
}

/*
 * Programs are also stepped on the guest's own root, where it is unknown which tables are shadowed.
 * `ends`: the step ended before the next native run.
 */
static void step_on_the_guests_root(bool ends)
{
    start(2);
    struct cpu *steps = &fake.cpus[1];
    fake_map(&fake, FAKE_ROOT, VA + PAGE_SIZE, 0x600000 | P | U);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    kernel_store(cpu, gpa_of(entry), 0x300000 | P | W | U);
    uint64_t epoch = fake.engine.native_epoch;
    steps->sregs.cr3 = FAKE_ROOT;
    tables_enter_untracked(steps);
    CHECK(fake.engine.native_running == 1); /* it may change its code */
    /* Not by the old shadow. */
    shadow_zap_waiting(&model, 64);
    CHECK(shadow_access(&model, FAKE_ROOT, VA + PAGE_SIZE, false).gpa == 0x600000);
    CHECK(shadow_access(&model, FAKE_ROOT, VA, true).gpa == 0x300000);
    if (ends)
        tables_exit_untracked(steps);
    kernel_store(cpu, gpa_of(entry), 0x400000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x400000);
    CHECK(model.zaps[ZAP_ALL] > 0);
    if (!ends)
        tables_exit_untracked(steps);
    CHECK(fake.engine.native_running == 0 && fake.engine.native_epoch > epoch + 1);
    CHECK(tables()->unsure == 0 && tables()->native_cpus == 0);
    /* A later step does not find what an earlier one left, either. */
    shadow_zap_waiting(&model, 64);
    CHECK(!shadow_access(&model, FAKE_ROOT, VA, true).kept);
    finish();
}

static void test_steps_on_the_guests_root(void)
{
    step_on_the_guests_root(false);
    step_on_the_guests_root(true);
}

static void test_native_run_across_a_reset(void)
{
    native_run_across_a_reset(false);
    native_run_across_a_reset(true);
}

int main(void)
{
    test_rules();
    test_root_entries();
    test_unshadowed_tables_need_no_zap();
    test_a_process_ends();
    test_a_root_that_is_not_loaded_is_written();
    test_more_roots_than_the_pool_has();
    test_device_writes_to_tables();
    test_zaps_before_a_link();
    test_table_that_was_written_meanwhile();
    test_native_run_across_a_reset();
    test_steps_on_the_guests_root();
    return check_finish();
}
