/* Page tables that no kernel creates, and more of everything than can be tracked. */
#include "tables_setup.h"

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
        /* The root is referred to by one of its slots, the table below it by half of its own
         * entries. */
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
    /* A change is visible through both ways. */
    kernel_store(cpu, gpa_of(entry), 0x300000 | P | W | U);
    CHECK(run(FAKE_ROOT, alias, true) == 0x300000 && run(FAKE_ROOT, VA, true) == 0x300000);
    /* One way is removed; the other stays tracked. */
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
    /* Tables in the private region: the guest can damage its content, but only for itself. */
    uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, 2), saved = *entry;
    kernel_store(cpu, gpa_of(entry), FAKE_REGION | P | W | U);
    run(FAKE_ROOT, VA, true);
    kernel_store(cpu, gpa_of(entry), saved);
    CHECK(run(FAKE_ROOT, VA, true) == 0x200000);
    finish();
}

/* CPL 3 writes to tables and to our copy of the root: never noticed here. */
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
    /* Other address spaces are not affected if their tables are separate. */
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
    /* Then they count from the start. */
    CHECK(run(FAKE_ROOT, VA, true) == 0x300000);
    kernel_store(cpu, gpa_of(fake_entry(&fake, FAKE_ROOT, VA, 1)), 0);
    CHECK(take(zaps, 8) == 1 && !(zaps[0] & ZAP_ALL));
    finish();
}

/* Every frame of RAM is a table of each level, which is more than can be tracked. */
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
    /* Other vCPUs continue, and do not suffer for long. */
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

/* Marking stops when a thread waits for this vCPU, and resumes where it was. */
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
    /* One write drops all of it, so the work after it is bounded, too. */
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

int main(void)
{
    test_tables_that_loop_are_tracked();
    test_tables_that_alias();
    test_tables_outside_ram();
    test_tables_writable_at_cpl_3();
    test_more_zaps_than_are_kept();
    test_more_tables_than_are_tracked();
    test_order_to_pause_while_tables_are_looked_through();
    return check_finish();
}
