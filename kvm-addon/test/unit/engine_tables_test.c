/*
 * Page-table tracking, case by case: what is tracked and zapped, hostile tables, and every bound.
 * engine_tables_random_test.c has what comes of their combinations.
 */
#include "../../src/pvm/tables_internal.h"
#include "../check.h"
#include "shadow_model.h"

#define VA 0x400000000ull
#define DIRECT 0xffff888000000000ull
#define SPARE 0x800000ull /* RAM that nothing else uses */

static struct fake fake;
static struct shadow_model model;
static struct cpu *cpu;

static struct tables *tables(void)
{
    return fake.engine.tables;
}

static bool is_table(uint64_t gpa)
{
    return frame_at(&fake.engine.frames, gpa)->flags & FRAME_TABLE;
}

/* A root with the kernel's own mapping, which starts in the same place in all of them. */
static void add_root(uint64_t root)
{
    for (unsigned i = 0; i < FAKE_MEMORY >> 21; i++)
        *fake_entry(&fake, FAKE_ROOT, DIRECT + ((uint64_t)i << 21), 2) =
            (uint64_t)i << 21 | P | W | PS | G;
    *fake_word(&fake, root + 8 * entry_index(DIRECT, 4)) =
        *fake_word(&fake, FAKE_ROOT + 8 * entry_index(DIRECT, 4));
}

static void start(unsigned cpus)
{
    fake_init(&fake, cpus);
    cpu = fake.cpus;
    model = (struct shadow_model){.fake = &fake};
    add_root(FAKE_ROOT);
    for (unsigned i = 1; i < cpus; i++)
        safepoint_exit(&fake.cpus[i]);
}

static void finish(void)
{
    shadow_forget(&model);
    fake_free(&fake);
}

/* As the kernel of a vCPU writes to memory. */
static void kernel_store(struct cpu *by, uint64_t gpa, uint64_t value)
{
    CHECK(FAKE_TRY(by, fake_store(by, DIRECT + gpa, 8, value)) == 0);
}

static uint64_t enter(struct cpu *by, uint64_t root)
{
    by->sregs.cr3 = root;
    tlb_flush_nonglobal(by);
    return tables_enter_native(by);
}

/*
 * Runs natively for one access; 0: a fault. An access to the next page comes before, so that the
 * upper levels of the shadow are there: else KVM would look at the tables themselves anyway.
 */
static uint64_t run(uint64_t root, uint64_t va, bool is_write)
{
    uint64_t ours = enter(cpu, root);
    CHECK(ours != 0);
    shadow_zap_waiting(&model, 64);
    shadow_access(&model, ours, va + PAGE_SIZE, false);
    struct shadow_access access = shadow_access(&model, ours, va, is_write);
    tables_exit_native(cpu);
    return access.fault ? 0 : access.gpa;
}

static unsigned take(uint64_t *zaps, unsigned max)
{
    unsigned count = tables_take_zaps(&fake.engine, zaps, max);
    for (unsigned i = 0; i < count; i++)
        shadow_zap(&model, zaps[i]);
    if (count)
        tables_zaps_done(&fake.engine);
    return count;
}

static uint64_t gpa_of(const uint64_t *entry)
{
    return (uint64_t)((const uint8_t *)entry - (const uint8_t *)fake_ram(&fake, 0));
}

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
    /* Our copy follows, and its entry is zapped, not that of the guest's root. */
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
    /* Many entries: the table as a whole, once. */
    for (unsigned i = 0; i < 64; i++)
        *fake_map(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, 0x300000 | P | U) |= A;
    for (unsigned i = 0; i < 64; i++)
        kernel_store(cpu, gpa_of(fake_entry(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, 1)), 0);
    CHECK(take(zaps, 64) == ZAPS_TABLE + 1);
    CHECK(zaps[ZAPS_TABLE] == (gpa_of(entry) & PAGE_BASE) + ZAP_TABLE);
    /* After that KVM has no shadow of it until it runs again. */
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
    /* As kernels free page tables, from the page up. */
    for (unsigned level = 1; level <= TABLE_LEVELS; level++) {
        kernel_store(cpu, table[level], 0);
        CHECK(level == 1 || !is_table(table[level - 1]));
    }
    CHECK(!is_table(FAKE_ROOT));
    for (uint32_t i = 1; i <= tables()->node_count; i++)
        CHECK(tables()->nodes[i].frame == NO_FRAME);
    /* Each may become a table again: KVM must not take the old shadow for the new one. */
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
    /* It became something else, say. */
    kernel_store(cpu, SPARE + 8 * 400, 0x1234);
    CHECK(!is_table(SPARE));
    /* Or it did not. */
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
        /* Tables that KVM takes for the next one's, if their last life's shadow is still there. */
        fake_map(&fake, root, VA, (0x200000 + i * PAGE_SIZE) | P | W | U);
        fake_map(&fake, root, VA + PAGE_SIZE, 0x600000 | P | U);
        CHECK(run(root, VA, true) == 0x200000 + i * PAGE_SIZE);
        if (i < PRIVATE_ROOTS)
            continue;
        uint64_t freed = SPARE + (i - PRIVATE_ROOTS) * PAGE_SIZE;
        CHECK(!is_table(freed));
        /* Not tracked any more, so changed unseen. */
        *fake_map(&fake, freed, VA, 0x700000 | P | W | U) |= A;
        if (i % 16 == 0)
            CHECK(run(freed, VA, true) == 0x700000);
    }
    finish();
}

/* ---- Hostile tables ---- */

static void test_tables_that_loop_are_tracked(void)
{
    start(1);
    add_root(SPARE);
    for (unsigned i = 0; i < LOWER_HALF; i++)
        *fake_word(&fake, SPARE + 8 * i) = SPARE | P | W | U;
    CHECK(run(SPARE, VA, true) == SPARE);
    for (unsigned level = 1; level <= TABLE_LEVELS; level++) {
        struct table_node *node = node_find(tables(), SPARE >> 12, level);
        CHECK(node && node->scanned);
        /* The root is referred to by its slot, the table below by half of its entries. */
        unsigned references = level == ROOT_LEVEL ? 1 : LOWER_HALF;
        CHECK(node && node->references == references);
    }
    for (unsigned i = 0; i < LOWER_HALF; i++)
        kernel_store(cpu, SPARE + 8 * i, 0);
    CHECK(!is_table(SPARE));
    CHECK(run(SPARE, VA, true) == 0);
    finish();
}

/* One table under two entries of each level above it, and as a table of two levels. */
static void test_tables_that_alias(void)
{
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    uint64_t table[TABLE_LEVELS + 1];
    for (unsigned level = 1; level <= TABLE_LEVELS; level++)
        table[level] = gpa_of(fake_entry(&fake, FAKE_ROOT, VA, level)) & PAGE_BASE;
    uint64_t alias = VA;
    for (unsigned level = 2; level <= TABLE_LEVELS; level++) {
        kernel_store(cpu, table[level] + 8 * 77, table[level - 1] | P | W | U);
        alias = (alias & ~(511ull << (12 + 9 * (level - 1)))) | 77ull << (12 + 9 * (level - 1));
    }
    kernel_store(cpu, table[3] + 8 * 78, table[1] | P | W | U); /* pages as tables */
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000 && run(FAKE_ROOT, alias, true) == 0x200000);
    CHECK(node_find(tables(), (uint32_t)(table[1] >> 12), 1)->references == 2);
    CHECK(node_find(tables(), (uint32_t)(table[1] >> 12), 2)->references == 1);
    /* One change is seen by both ways. */
    kernel_store(cpu, gpa_of(entry), 0x300000 | P | W | U);
    CHECK(run(FAKE_ROOT, alias, true) == 0x300000 && run(FAKE_ROOT, VA, true) == 0x300000);
    /* One way goes, the other stays tracked. */
    kernel_store(cpu, table[4], 0);
    CHECK(run(FAKE_ROOT, VA, true) == 0 && run(FAKE_ROOT, alias, true) == 0x300000);
    kernel_store(cpu, gpa_of(entry), 0x400000 | P | W | U);
    CHECK(run(FAKE_ROOT, alias, true) == 0x400000);
    finish();
}

static void test_tables_outside_ram(void)
{
    const uint64_t places[] = {0x40000000, FAKE_DEVICE, FAKE_MEMORY, 0xfffffff000, ENTRY_ADDRESS};
    start(1);
    fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (unsigned level = 2; level <= TABLE_LEVELS; level++) {
            uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, level), saved = *entry;
            kernel_store(cpu, gpa_of(entry), places[i] | P | W | U);
            CHECK(run(FAKE_ROOT, VA, true) == 0);
            kernel_store(cpu, gpa_of(entry), saved);
            CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
        }
        CHECK(enter(cpu, places[i]) == 0);
        cpu->sregs.cr3 = FAKE_ROOT;
        tlb_flush_all(cpu);
    }
    /* Tables in our own region: what is there is the guest's to break, and only its own. */
    uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, 2), saved = *entry;
    kernel_store(cpu, gpa_of(entry), FAKE_REGION | P | W | U);
    run(FAKE_ROOT, VA, true);
    kernel_store(cpu, gpa_of(entry), saved);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    finish();
}

/* CPL 3 writes to tables, and to our copy of the root: never seen here. */
static void test_tables_writable_at_cpl_3(void)
{
    start(1);
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    uint64_t *middle = fake_entry(&fake, FAKE_ROOT, VA, 2);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t table = SPARE + (uint64_t)(rand() % 16) * PAGE_SIZE;
        uint64_t *words[] = {middle, entry, fake_word(&fake, table + 8 * (rand() % 512)),
                             private_region_root(&fake.region, 0) + rand() % 4};
        *words[rand() % 4] = (SPARE + (uint64_t)(rand() % 16) * PAGE_SIZE) | P | W | U;
        kernel_store(cpu, gpa_of(middle) + 8 * (rand() % 4), table | P | W | U);
        kernel_store(cpu, gpa_of(middle) + 8 * (rand() % 4), 0);
        run(FAKE_ROOT, VA, true);
    }
    /* Another address space is not concerned once its tables are its own. */
    CHECK(tables()->node_count <= 64 * TABLE_LEVELS);
    finish();
}

/* ---- Bounds ---- */

static void test_more_zaps_than_are_kept(void)
{
    start(1);
    uint64_t zaps[8];
    unsigned leaves = ZAPS_MAX / ZAPS_TABLE + 1;
    for (unsigned i = 0; i < leaves; i++)
        for (unsigned j = 0; j < ZAPS_TABLE; j++)
            fake_map(&fake, FAKE_ROOT, VA + ((uint64_t)i << 21) + j * PAGE_SIZE,
                     0x200000 | P | W | U | A | D);
    run(FAKE_ROOT, VA, true);
    for (unsigned i = 0; i < leaves; i++)
        for (unsigned j = 0; j < ZAPS_TABLE; j++) {
            uint64_t *entry =
                fake_entry(&fake, FAKE_ROOT, VA + ((uint64_t)i << 21) + j * PAGE_SIZE, 1);
            kernel_store(cpu, gpa_of(entry), 0x300000 | P | W | U | A | D);
        }
    CHECK(take(zaps, 8) == 1 && zaps[0] == ZAP_ALL);
    CHECK(take(zaps, 8) == 0);
    /* And then they count from the start. */
    CHECK(run(FAKE_ROOT, VA, true) == 0x300000);
    kernel_store(cpu, gpa_of(fake_entry(&fake, FAKE_ROOT, VA, 1)), 0);
    CHECK(take(zaps, 8) == 1 && !(zaps[0] & ZAP_ALL));
    finish();
}

/* Every frame of RAM is a table, of each level: more than are tracked. */
static void test_more_tables_than_are_tracked(void)
{
    start(1);
    fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    add_root(SPARE);
    uint64_t first = SPARE + PAGE_SIZE, frames = (FAKE_MEMORY - first) >> 12;
    for (unsigned i = 0; i < frames; i++)
        for (unsigned j = 0; j < TABLE_ENTRIES; j++)
            *fake_word(&fake, first + i * PAGE_SIZE + 8 * j) =
                (first + (i * 7 + j * 31) % frames * PAGE_SIZE) | P | W | U;
    for (unsigned j = 0; j < LOWER_HALF; j++)
        *fake_word(&fake, SPARE + 8 * j) = (first + j * 8 % frames * PAGE_SIZE) | P | W | U;
    CHECK(frames * 3 > tables()->node_limit);
    cpu->attention = 0;
    CHECK(enter(cpu, SPARE) == 0);
    CHECK(tables()->node_count <= tables()->node_limit);
    /* Others go on, and do not suffer from it for long. */
    uint64_t ours = enter(cpu, FAKE_ROOT), zaps[2];
    CHECK(ours != 0);
    CHECK(tables_take_zaps(&fake.engine, zaps, 2) == 1 && zaps[0] == ZAP_ALL);
    shadow_zap(&model, zaps[0]);
    tables_zaps_done(&fake.engine);
    CHECK(shadow_access(&model, ours, VA, true).gpa == 0x200000);
    tables_exit_native(cpu);
    for (unsigned i = 0; i < 8; i++)
        CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    finish();
}

/* Marking stops for whoever wants this vCPU, and goes on where it was. */
static void test_order_to_pause_while_tables_are_looked_through(void)
{
    start(1);
    for (unsigned i = 0; i < 600; i++)
        fake_map(&fake, FAKE_ROOT, VA + ((uint64_t)i << 21), 0x200000 | P | W | U);
    unsigned refused = 0;
    cpu_attract(cpu, ATTENTION_ORDER);
    uint64_t ours;
    while ((ours = enter(cpu, FAKE_ROOT)) == 0 && refused < 100)
        refused++;
    CHECK(ours != 0 && refused == 600 / WORK_BETWEEN_LOOKS);
    tables_exit_native(cpu);
    cpu_attended(cpu, ATTENTION_ORDER);
    /* One write drops all of it: the work after it is bounded too. */
    kernel_store(cpu, gpa_of(fake_entry(&fake, FAKE_ROOT, VA, ROOT_LEVEL)), 0);
    unsigned tracked = 0;
    for (uint32_t i = 1; i <= tables()->node_count; i++)
        tracked += tables()->nodes[i].frame != NO_FRAME;
    CHECK(tracked > 600 - 2 * WORK_AFTER_WRITE);
    run(FAKE_ROOT, VA, true);
    tracked = 0;
    for (uint32_t i = 1; i <= tables()->node_count; i++)
        tracked += tables()->nodes[i].frame != NO_FRAME;
    CHECK(tracked == 1);
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
    /* A table of tables: everything starts anew. */
    uint64_t *middle = fake_entry(&fake, FAKE_ROOT, VA, 2);
    receive(gpa_of(middle), middle[1]);
    CHECK(!is_table(FAKE_ROOT));
    CHECK(run(FAKE_ROOT, VA, true) == 0x202000);
    /* The root. */
    uint64_t *root = fake_entry(&fake, FAKE_ROOT, VA, ROOT_LEVEL);
    receive(gpa_of(root), 0);
    CHECK(run(FAKE_ROOT, VA, true) == 0);
    /* A frame that was one once is nobody's concern. */
    CHECK(take(zaps, 4) == 0);
    receive(gpa_of(middle), 5);
    CHECK(take(zaps, 4) == 0);
    finish();
}

/* ---- Several vCPUs ---- */

/* KVM still has a shadow of the new table's last life, and a program may use the link at once. */
static void test_zaps_before_a_link(void)
{
    start(2);
    struct cpu *other = &fake.cpus[1];
    struct insn insn = {.place = 0};
    uint64_t *stale = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W | U);
    uint64_t *link = fake_entry(&fake, FAKE_ROOT, VA, 2), saved = *link;
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    kernel_store(cpu, gpa_of(link), 0);
    /* In between it was filled anew, and nobody ran natively. */
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
    int why = FAKE_TRY(cpu, tlb_store_slow(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == INTERPRETED_ATTENTION && cpu->attention & ATTENTION_ZAPS && *second == 0);
    /* Within interpret_once() it must not look executed. */
    cpu->once = true;
    why = FAKE_TRY(cpu, tlb_store_slow(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == INTERPRETED_ONCE && *second == 0);
    cpu->once = false;
    shadow_zap_waiting(&model, 64);
    why = FAKE_TRY(cpu, tlb_store_slow(cpu, &insn, DIRECT + gpa_of(second), 8, saved));
    CHECK(why == 0 && *second == saved);
    struct shadow_access access = shadow_access(&model, ours, VA, true);
    CHECK(!access.fault && access.gpa == 0x300000);
    tables_exit_native(other);
    finish();
}

/* Another vCPU had a write entry of the table, and wrote to it after KVM had made a shadow. */
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
    /* It is tracked from the start: the write entry is gone by the time its owner comes inside. */
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
 * What ran natively while all tracking was dropped makes shadows of what nobody tracks. `ends`: it
 * left before the next native run.
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
    test_tables_that_loop_are_tracked();
    test_tables_that_alias();
    test_tables_outside_ram();
    test_tables_writable_at_cpl_3();
    test_more_zaps_than_are_kept();
    test_more_tables_than_are_tracked();
    test_order_to_pause_while_tables_are_looked_through();
    test_device_writes_to_tables();
    test_zaps_before_a_link();
    test_table_that_was_written_meanwhile();
    test_native_run_across_a_reset();
    return check_finish();
}
