/*
 * Random page tables that loop, alias, and turn into data and back, changed by three vCPUs and by
 * DMA, against a model of KVM's shadow page tables: a vCPU that enters CPL 3 natively must find no
 * stale shadow. The negative control is the same test without zaps.
 */
#include "../../src/pvm/engine_api.h"
#include "../check.h"
#include "shadow_model.h"
#include "tables_check.h"

#define CPUS_MAX 3u
#define TABLES 20u
#define TABLES_AT 0x800000ull
#define PAGES_AT 0x900000ull
#define DIRECT 0xffff888000000000ull
#define STEPS 150000u
#define STEPPED_ACCESSES 16u

static struct fake fake;
static struct shadow_model model;
static unsigned cpus;
static bool shares; /* tables have several parents, and loop */
static uint64_t random_state;
static unsigned retried;   /* stores that had to wait for zaps */
static unsigned stale;     /* accesses allowed by a stale shadow */
static unsigned confirmed; /* accesses allowed by a correct shadow */

/* What an access may find; 0 is a fault. */
#define PLACES 81u /* indices to the power of levels */
#define OUTCOMES 12u

/*
 * A vCPU at CPL 3. Until it is flushed (by leaving CPL 3), it may use translations that were valid
 * at any time since it entered, but no others.
 */
static struct native {
    bool running;
    uint64_t root; /* our copy of the root */
    uint64_t outcomes[PLACES][2][OUTCOMES];
    uint8_t count[PLACES][2];
    bool many[PLACES][2];
} natives[CPUS_MAX];

static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(random_state >> 33) % below;
}

/* Most tables are used at one level, five at each; some entries break the rule. */
static uint64_t table_of_level(unsigned level)
{
    return TABLES_AT + ((level - 1) * 5 + draw(5)) * PAGE_SIZE;
}

static uint64_t draw_table(void)
{
    return TABLES_AT + draw(TABLES) * PAGE_SIZE;
}

/* So few places that tables share them often. */
static const unsigned indices[] = {0, 1, 255};

static unsigned draw_index(void)
{
    return indices[draw(3)];
}

static uint64_t va_of(unsigned place)
{
    uint64_t va = 0;
    for (unsigned level = 1; level <= TABLE_LEVELS; level++, place /= 3)
        va |= (uint64_t)indices[place % 3] << (12 + 9 * (level - 1));
    return va;
}

/* For a table that is probably of this level. */
static uint64_t draw_entry(unsigned level)
{
    uint64_t bits = P | U | (draw(4) ? W : 0) | (draw(4) ? A : 0) | (draw(4) ? D : 0);
    uint64_t page = PAGES_AT + draw(4) * PAGE_SIZE;
    switch (draw(24)) {
    case 0:
    case 1:
        return 0;
    case 2:
        return 0xdead000;
    case 3:
        return FAKE_DEVICE | bits;
    case 4:
        return 1ull << 45 | bits;
    case 5:
        return 0xa00000 | bits | PS;
    case 6:
    case 7:
        return shares ? draw_table() | bits : 0;
    default:
        break;
    }
    if (level == 1)
        return page | bits;
    for (unsigned tries = 0; tries < 5; tries++) {
        uint64_t table = table_of_level(level - 1);
        if (shares || !(frame_at(&fake.engine.frames, table)->flags & FRAME_TABLE))
            return table | bits;
    }
    return 0;
}

static unsigned level_of(uint64_t gpa)
{
    return (unsigned)((gpa - TABLES_AT) >> 12) / 5 + 1;
}

static uint64_t truth(unsigned number, unsigned place, bool is_write)
{
    struct walk_request request = {.va = va_of(place),
                                   .access = is_write ? WALK_WRITE : WALK_READ,
                                   .user = true,
                                   .probe = true};
    struct walk_result result = walk(&fake.cpus[number], &request);
    return result.fault ? 0 : result.gpa;
}

/* Tables have changed: adds what vCPUs at CPL 3 may find now to what they could find before. */
static void remember(unsigned number)
{
    struct native *native = &natives[number];
    for (unsigned place = 0; native->running && place < PLACES; place++)
        for (unsigned write = 0; write < 2; write++) {
            uint64_t outcome = truth(number, place, write);
            bool known = false;
            for (unsigned i = 0; i < native->count[place][write]; i++)
                known |= native->outcomes[place][write][i] == outcome;
            if (known)
                continue;
            if (native->count[place][write] == OUTCOMES)
                native->many[place][write] = true;
            else
                native->outcomes[place][write][native->count[place][write]++] = outcome;
        }
}

static void remember_all(void)
{
    for (unsigned i = 0; i < cpus; i++)
        remember(i);
}

static bool is_possible(const struct native *native, unsigned place, bool is_write,
                        uint64_t outcome)
{
    bool possible = native->many[place][is_write];
    for (unsigned i = 0; i < native->count[place][is_write]; i++)
        possible |= native->outcomes[place][is_write][i] == outcome;
    return possible;
}

static void store_by(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size, uint64_t value)
{
    void *hit = tlb_write(cpu, va, size);
    if (hit)
        memcpy(hit, &value, size);
    else
        access_store(cpu, insn, va, size, value);
}

static void store_once(struct cpu *cpu, uint64_t gpa, unsigned kind, uint64_t value, uint64_t old)
{
    struct insn insn = {.place = 0};
    uint64_t va = DIRECT + gpa;
    switch (kind) {
    case 0:
        store_by(cpu, &insn, va + 3, 4, value);
        break;
    case 1:
        store_by(cpu, &insn, va + 1, 1, value);
        break;
    case 2:
        store_by(cpu, &insn, va + 2, 8, value << 16); /* spans two entries */
        break;
    case 3:
        access_exchange(cpu, &insn, va, 8, value);
        break;
    case 4:
        access_compare_exchange(cpu, &insn, va, 8, old, value);
        break;
    case 5:
        access_compare_exchange(cpu, &insn, va, 8, value, old);
        break;
    case 6:
        store_by(cpu, &insn, va, 8, old & ~W);
        break;
    case 7:
        store_by(cpu, &insn, va, 8, old & ~A);
        break;
    default:
        store_by(cpu, &insn, va, 8, value);
        break;
    }
}

/* Executed again if zaps are needed first. */
static void store_until_done(struct cpu *cpu, uint64_t gpa, unsigned kind, uint64_t value,
                             uint64_t old)
{
    unsigned batch = 1 + draw(64);
    for (unsigned tries = 0; CHECK(tries < 8); tries++) {
        int why = setjmp(cpu->leave);
        if (why == 0) {
            store_once(cpu, gpa, kind, value, old);
            break;
        }
        CHECK(why == INTERPRETED_ATTENTION && cpu->attention & ATTENTION_ZAPS);
        cpu_attended(cpu, ATTENTION_ZAPS);
        shadow_zap_waiting(&model, batch);
        retried++;
    }
    remember_all();
}

static void leave_native(unsigned number)
{
    if (natives[number].running)
        tables_exit_native(&fake.cpus[number]);
    natives[number].running = false;
}

static void store(struct cpu *cpu, uint64_t gpa)
{
    uint64_t value = draw_entry(level_of(gpa)), old = *fake_word(&fake, gpa);
    /*
     * A link to a table is removed and flushed before another link is set. Otherwise, a vCPU that
     * still uses the old link makes KVM add translations found by the new link to the old table's
     * shadow.
     */
    uint64_t place = (old & ENTRY_ADDRESS) - TABLES_AT;
    if (old & P && place < TABLES * PAGE_SIZE && cpus > 1) {
        store_until_done(cpu, gpa, 8, old & ~P, old);
        for (unsigned i = 0; i < cpus; i++)
            leave_native(i);
        old &= ~P;
    }
    store_until_done(cpu, gpa, draw(16), value, old);
}

/* A table is emptied, or becomes data, by string instructions. */
static void clear(struct cpu *cpu, uint64_t table)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t va = DIRECT + table + 8 * i;
        void *page = access_host_page(cpu, NULL, va, true);
        if (page)
            *(volatile uint64_t *)page = 0;
        else
            access_store(cpu, NULL, va, 8, 0);
    }
    remember_all();
}

static void receive(uint64_t table)
{
    unsigned index = draw_index();
    for (unsigned i = 0; i < cpus; i++)
        leave_native(i);
    *fake_word(&fake, table + 8 * index) = draw_entry(level_of(table));
    engine_memory_written(&fake.engine, table + 8 * index, 8);
    remember_all();
}

static void enter(unsigned number)
{
    struct cpu *cpu = &fake.cpus[number];
    cpu->sregs.cr3 = draw(16) || !shares ? table_of_level(ROOT_LEVEL) : draw_table();
    tlb_flush_nonglobal(cpu);
    uint64_t root = tables_enter_native(cpu);
    if (!CHECK(root != 0))
        return;
    shadow_zap_waiting(&model, 1 + draw(64));
    natives[number] = (struct native){.running = true, .root = root};
    remember(number);
}

static void run(unsigned number)
{
    const struct native *native = &natives[number];
    unsigned place = draw(PLACES);
    bool is_write = draw(2);
    /* What was dropped while it ran is not tracked until it is flushed. */
    if (fake.engine.tables->unsure & 1u << number)
        return;
    struct shadow_access access = shadow_access(&model, native->root, va_of(place), is_write);
    confirmed += access.kept;
    if (access.kept && !is_possible(native, place, is_write, access.gpa))
        stale++;
}

/* An instruction of CPL 3 on the guest's own root. */
static void step_untracked(unsigned number)
{
    struct cpu *cpu = &fake.cpus[number];
    cpu->sregs.cr3 = table_of_level(ROOT_LEVEL);
    tlb_flush_nonglobal(cpu);
    tables_enter_untracked(cpu);
    shadow_zap_waiting(&model, 1 + draw(64));
    for (unsigned i = 0; i < STEPPED_ACCESSES; i++) {
        unsigned place = draw(PLACES);
        bool is_write = draw(2);
        uint64_t outcome = truth(number, place, is_write);
        struct shadow_access access = shadow_access(&model, cpu->sregs.cr3, va_of(place), is_write);
        stale += access.kept && access.gpa != outcome;
    }
    tables_exit_untracked(cpu);
}

static void step(unsigned number)
{
    struct cpu *cpu = &fake.cpus[number];
    if (natives[number].running) {
        if (draw(24) != 0) {
            run(number);
            return;
        }
        leave_native(number);
    }
    safepoint_enter(cpu);
    unsigned what = draw(256);
    if (what < 128)
        enter(number);
    else if (what == 254)
        clear(cpu, draw_table());
    else if (what == 255)
        receive(draw_table());
    else if (what == 249)
        step_untracked(number);
    else if (what >= 250) /* for a root, and for a table without tables below it, less is lost */
        receive(table_of_level(draw(2) ? ROOT_LEVEL : 1));
    else
        store(cpu, draw_table() + 8 * draw_index());
    safepoint_exit(cpu);
}

static void set_up(uint64_t seed)
{
    fake_init(&fake, cpus);
    memset(natives, 0, sizeof(natives));
    random_state = seed;
    stale = confirmed = retried = 0;
    model = (struct shadow_model){.fake = &fake};
    /* The kernel's mapping of all memory is in each table that may be a root. */
    uint64_t middle = fake.next_table, low = middle + PAGE_SIZE;
    *fake_word(&fake, middle) = low | P | W;
    for (unsigned i = 0; i < FAKE_MEMORY >> 21; i++)
        *fake_word(&fake, low + 8 * i) = (uint64_t)i << 21 | P | W | PS | G | A | D;
    for (unsigned i = 0; i < TABLES; i++)
        *fake_word(&fake, TABLES_AT + i * PAGE_SIZE + 8 * entry_index(DIRECT, 4)) = middle | P | W;
    for (unsigned i = 0; i < cpus; i++) {
        fake.cpus[i].sregs.cr3 = TABLES_AT;
        safepoint_exit(&fake.cpus[i]);
    }
}

static void tear_down(void)
{
    shadow_forget(&model);
    fake_free(&fake);
}

static void run_steps(uint64_t seed, bool deaf)
{
    set_up(seed);
    model.deaf = deaf;
    for (unsigned i = 0; i < STEPS && (!deaf || stale == 0); i++) {
        step(draw(cpus));
        if (i % 1000 == 0)
            CHECK(references_are_right(&fake));
    }
}

static void run_seed(unsigned seed, bool report)
{
    run_steps(seed, false);
    CHECK(stale == 0);
    CHECK(confirmed > 300);
    CHECK(model.zaps[0] > 100 && model.zaps[ZAP_TABLE] > 50);
    CHECK(cpus == 1 || retried > 5);
    uint64_t writes = 0;
    for (unsigned i = 0; i < cpus; i++)
        writes += fake.cpus[i].counters->table_writes;
    CHECK(writes > 1000);
    if (report)
        printf("seed %u: stale %u, confirmed %u, zaps %lu %lu %lu, table writes %lu, retried %u\n",
               seed, stale, confirmed, model.zaps[0], model.zaps[ZAP_TABLE], model.zaps[ZAP_ALL],
               writes, retried);
    tear_down();
    /* The check can fail. */
    run_steps(seed, true);
    CHECK(stale > 0);
    tear_down();
}

/* An argument sets the number of seeds and enables reports. */
int main(int argc, char **argv)
{
    static const struct {
        unsigned cpus;
        bool shares;
    } ways[] = {{1, true}, {1, false}, {3, false}, {3, true}};
    unsigned seeds = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        cpus = ways[i].cpus;
        shares = ways[i].shares;
        for (unsigned seed = 1; seed <= seeds; seed++)
            run_seed(seed, argc > 1);
    }
    return check_finish();
}
