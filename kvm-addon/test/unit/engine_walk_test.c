/* The page walk: rights, bits, and invalid page tables. */
#include <pthread.h>

#include "../check.h"
#include "engine_fake.h"

#define VA 0x400000000ull
#define OUTSIDE 0x40000000ull /* no RAM, no device */

static struct fake fake;
static struct cpu *cpu;

static struct walk_result try_walk(uint64_t va, enum walk_access access, bool user)
{
    struct walk_request request = {.va = va, .access = access, .user = user};
    return walk(cpu, &request);
}

/* The page-fault error code, or -1 for another result. */
static int fault_of(uint64_t va, enum walk_access access, bool user)
{
    struct walk_result result = try_walk(va, access, user);
    return result.fault ? (int)result.error : -1;
}

static void test_accessed_and_dirty(void)
{
    uint64_t *leaf = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W);
    uint64_t *directory = fake_entry(&fake, FAKE_ROOT, VA, 2);
    struct walk_request probe = {.va = VA + 0x123, .access = WALK_WRITE, .probe = true};
    CHECK(walk(cpu, &probe).gpa == 0x200123);
    CHECK(!(*leaf & (A | D)) && !(*directory & A));
    struct walk_result result = try_walk(VA + 0x123, WALK_READ, false);
    CHECK(!result.fault && result.gpa == 0x200123 && result.span == PAGE_SIZE);
    CHECK(!result.writable && !result.user && !result.global);
    CHECK(*leaf == (0x200000 | P | W | A));
    for (unsigned level = 2; level <= TABLE_LEVELS; level++)
        CHECK((*fake_entry(&fake, FAKE_ROOT, VA, level) & (A | D)) == A);
    CHECK(try_walk(VA, WALK_WRITE, false).writable);
    CHECK(*leaf == (0x200000 | P | W | A | D));
    CHECK(try_walk(VA, WALK_READ, false).writable);
    CHECK(!(*directory & D));
    /* Frames of tables that were marked are dirty themselves. */
    CHECK(frame_at(&fake.engine.frames, FAKE_ROOT)->flags & FRAME_DIRTY);
    /* A refused write changes nothing. */
    *leaf = 0x200000 | P;
    CHECK(fault_of(VA, WALK_WRITE, false) == (PF_PRESENT | PF_WRITE));
    CHECK(*leaf == (0x200000 | P));
}

static void test_rights(void)
{
    fake_map(&fake, FAKE_ROOT, VA + 0x1000, 0);
    fake_map(&fake, FAKE_ROOT, VA + 0x2000, 0x200000 | P);
    fake_map(&fake, FAKE_ROOT, VA + 0x3000, 0x200000 | P | U);
    fake_map(&fake, FAKE_ROOT, VA + 0x4000, 0x200000 | P | W | U);
    CHECK(fault_of(VA + 0x1000, WALK_READ, false) == 0);
    CHECK(fault_of(VA + 0x1000, WALK_WRITE, true) == (PF_WRITE | PF_USER));
    CHECK(fault_of(VA + 0x2000, WALK_READ, false) == -1);
    CHECK(fault_of(VA + 0x2000, WALK_WRITE, false) == (PF_PRESENT | PF_WRITE));
    CHECK(fault_of(VA + 0x2000, WALK_READ, true) == (PF_PRESENT | PF_USER));
    CHECK(fault_of(VA + 0x3000, WALK_READ, true) == -1);
    CHECK(fault_of(VA + 0x3000, WALK_WRITE, true) == (PF_PRESENT | PF_WRITE | PF_USER));
    CHECK(fault_of(VA + 0x4000, WALK_WRITE, true) == -1);
    /* CR0.WP: if it is clear, the supervisor may write anywhere. */
    cpu->sregs.cr0 &= ~CR0_WP;
    CHECK(fault_of(VA + 0x2000, WALK_WRITE, false) == -1);
    CHECK(try_walk(VA + 0x2000, WALK_READ, false).writable);
    CHECK(fault_of(VA + 0x3000, WALK_WRITE, true) == (PF_PRESENT | PF_WRITE | PF_USER));
    cpu->sregs.cr0 |= CR0_WP;
    /* Each level can revoke what the page allows. */
    for (unsigned level = 2; level <= TABLE_LEVELS; level++) {
        uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, level);
        *entry &= ~W;
        CHECK(fault_of(VA + 0x4000, WALK_WRITE, true) == (PF_PRESENT | PF_WRITE | PF_USER));
        *entry = (*entry | W) & ~U;
        CHECK(fault_of(VA + 0x4000, WALK_READ, true) == (PF_PRESENT | PF_USER));
        *entry = *entry | U | NX;
        CHECK(fault_of(VA + 0x4000, WALK_EXECUTE, true) == (PF_PRESENT | PF_USER | PF_FETCH));
        *entry &= ~NX;
        CHECK(fault_of(VA + 0x4000, WALK_EXECUTE, true) == -1);
    }
}

static void test_execute(void)
{
    fake_map(&fake, FAKE_ROOT, VA + 0x5000, 0x200000 | P | U | NX);
    fake_map(&fake, FAKE_ROOT, VA + 0x6000, 0x200000 | P | U);
    CHECK(fault_of(VA + 0x5000, WALK_READ, true) == -1);
    CHECK(fault_of(VA + 0x5000, WALK_EXECUTE, true) == (PF_PRESENT | PF_USER | PF_FETCH));
    CHECK(fault_of(VA + 0x6000, WALK_EXECUTE, false) == -1);
    cpu->sregs.cr4 |= CR4_SMEP;
    CHECK(fault_of(VA + 0x6000, WALK_EXECUTE, false) == (PF_PRESENT | PF_FETCH));
    CHECK(fault_of(VA + 0x6000, WALK_EXECUTE, true) == -1);
    /* Without NXE its bit is reserved; with SMEP, fetches are still distinguished. */
    cpu->sregs.efer &= ~EFER_NXE;
    CHECK(fault_of(VA + 0x5000, WALK_READ, false) == (PF_PRESENT | PF_RESERVED));
    CHECK(fault_of(VA + 0x1000, WALK_EXECUTE, false) == PF_FETCH);
    cpu->sregs.cr4 &= ~CR4_SMEP;
    CHECK(fault_of(VA + 0x1000, WALK_EXECUTE, false) == 0);
    cpu->sregs.efer |= EFER_NXE;
    CHECK(fault_of(VA + 0x1000, WALK_EXECUTE, false) == PF_FETCH);
}

static void test_smap(void)
{
    cpu->sregs.cr4 |= CR4_SMAP;
    struct walk_request request = {.va = VA + 0x4000, .access = WALK_WRITE};
    CHECK(walk(cpu, &request).error == (PF_PRESENT | PF_WRITE));
    request.smap_passes = true;
    CHECK(!walk(cpu, &request).fault);
    CHECK(fault_of(VA + 0x4000, WALK_WRITE, true) == -1);
    CHECK(fault_of(VA + 0x2000, WALK_READ, false) == -1);
    /* SMAP applies to data. */
    CHECK(fault_of(VA + 0x6000, WALK_EXECUTE, false) == -1);
    cpu->sregs.cr4 &= ~CR4_SMAP;
}

static void test_large_pages(void)
{
    uint64_t two = VA + (1ull << 30), giga = VA + (3ull << 30);
    uint64_t *entry = fake_entry(&fake, FAKE_ROOT, two, 2);
    *entry = 0x400000 | P | W | PS | G;
    struct walk_result result = try_walk(two + 0x12345, WALK_WRITE, false);
    CHECK(result.gpa == 0x412345 && result.span == 1 << 21 && result.global);
    CHECK(*entry == (0x400000 | P | W | PS | G | A | D));
    /* Bit 12 is PAT; the bits above it, up to the size, are reserved. */
    *entry = 0x401000 | P | PS;
    CHECK(try_walk(two + 0x3000, WALK_READ, false).gpa == 0x403000);
    for (unsigned bit = 13; bit < 21; bit++) {
        *entry = 0x400000 | P | PS | 1ull << bit;
        CHECK(fault_of(two, WALK_READ, true) == (PF_PRESENT | PF_USER | PF_RESERVED));
    }
    entry = fake_entry(&fake, FAKE_ROOT, giga, 3);
    *entry = 0 | P | W | PS;
    result = try_walk(giga + 0x345678, WALK_READ, false);
    CHECK(result.gpa == 0x345678 && result.span == 1 << 30);
    for (unsigned bit = 13; bit < 30; bit++) {
        *entry = P | PS | 1ull << bit;
        CHECK(fault_of(giga, WALK_WRITE, false) == (PF_PRESENT | PF_WRITE | PF_RESERVED));
    }
    entry = fake_entry(&fake, FAKE_ROOT, 0, 4);
    uint64_t saved = *entry;
    *entry = P | W | PS;
    CHECK(fault_of(0, WALK_READ, false) == (PF_PRESENT | PF_RESERVED));
    *entry = saved;
    /* In the last level the bit is PAT. */
    fake_map(&fake, FAKE_ROOT, VA + 0x7000, 0x200000 | P | PS);
    CHECK(fault_of(VA + 0x7000, WALK_READ, false) == -1);
}

static void test_reserved_address_bits(void)
{
    for (unsigned level = 1; level <= TABLE_LEVELS; level++)
        for (unsigned bit = 38; bit < 52; bit++) {
            uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA + 0x2000, level), saved = *entry;
            *entry |= 1ull << bit;
            /* Below MAXPHYADDR the address is valid, but there is no table. */
            int expected = level == 1 ? -1 : 0;
            if (bit >= 40)
                expected = PF_PRESENT | PF_RESERVED;
            CHECK(fault_of(VA + 0x2000, WALK_READ, false) == expected);
            /* An absent entry has no reserved bits. */
            *entry &= ~P;
            CHECK(fault_of(VA + 0x2000, WALK_READ, false) == 0);
            *entry = saved;
        }
}

static void test_addresses(void)
{
    CHECK(walk_is_canonical(cpu, 0x00007fffffffffff));
    CHECK(!walk_is_canonical(cpu, 0x0000800000000000));
    CHECK(!walk_is_canonical(cpu, 0xffff7fffffffffff));
    CHECK(walk_is_canonical(cpu, 0xffff800000000000));
}

static void test_tables_outside_ram(void)
{
    const uint64_t places[] = {OUTSIDE, FAKE_DEVICE, FAKE_REGION, 0xfffffff000, FAKE_MEMORY};
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (unsigned level = 2; level <= TABLE_LEVELS; level++) {
            uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA, level), saved = *entry;
            *entry = places[i] | P | W | U;
            CHECK(fault_of(VA + 0x4000, WALK_WRITE, true) == (PF_WRITE | PF_USER));
            *entry = saved;
        }
        cpu->sregs.cr3 = places[i];
        CHECK(fault_of(VA, WALK_READ, false) == 0);
        cpu->sregs.cr3 = FAKE_ROOT;
    }
    /* A table in the last page of RAM, and a page beyond it. */
    uint64_t *entry = fake_entry(&fake, FAKE_ROOT, VA + (5ull << 30), 2);
    *entry = (FAKE_MEMORY - PAGE_SIZE) | P | W;
    *fake_word(&fake, FAKE_MEMORY - 8) = FAKE_MEMORY | P | W;
    struct walk_result result = try_walk(VA + (5ull << 30) + 0x1ff123, WALK_WRITE, false);
    CHECK(!result.fault && result.gpa == FAKE_MEMORY + 0x123);
}

static void test_tables_that_loop(void)
{
    /* A root that is its own table at each level, and finally its own page. */
    memset(fake_ram(&fake, 0x800000), 0, PAGE_SIZE);
    for (unsigned i = 0; i < TABLE_ENTRIES; i++)
        *fake_word(&fake, 0x800000 + 8 * i) = 0x800000 | P | W | U;
    cpu->sregs.cr3 = 0x800000;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t va = (uint64_t)rand() << 20 & 0x7ffffffff000;
        struct walk_result result = try_walk(va + 0x234, WALK_WRITE, true);
        CHECK(!result.fault && result.gpa == 0x800234);
    }
    /* A store through that mapping to the entry that maps it. */
    CHECK(FAKE_TRY(cpu, fake_store(cpu, 0, 8, 0)) == 0);
    CHECK(*fake_word(&fake, 0x800000) == 0);
    cpu->sregs.cr3 = FAKE_ROOT;
    tlb_flush_all(cpu);
}

/* Another vCPU removes an entry and sets another one while this one walks. */
static uint64_t *contended;
static uint32_t stop;

static void *change_entry(void *unused)
{
    (void)unused;
    for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        uint64_t page = i & 1 ? 0x200000 : 0x300000;
        __atomic_store_n(contended, page | P | W, __ATOMIC_SEQ_CST);
        __atomic_store_n(contended, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(contended, 0xabcd00, __ATOMIC_SEQ_CST); /* a swapped page's */
    }
    return NULL;
}

static void test_change_under_a_walk(void)
{
    pthread_t thread;
    contended = fake_map(&fake, FAKE_ROOT, VA + 0x9000, 0);
    pthread_create(&thread, NULL, change_entry, NULL);
    bool good = true;
    for (unsigned i = 0; i < 200000 && good; i++) {
        struct walk_result result = try_walk(VA + 0x9000, WALK_WRITE, false);
        uint64_t entry = __atomic_load_n(contended, __ATOMIC_SEQ_CST);
        good = result.fault ? result.error == PF_WRITE
                            : result.gpa == 0x200000 || result.gpa == 0x300000;
        /* None of our bits is ever set in an absent entry. */
        good &= entry & P || entry == 0 || entry == 0xabcd00;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(good);
}

int main(void)
{
    if (!CHECK(fake_init(&fake, 1)))
        return check_finish();
    cpu = fake.cpus;
    test_accessed_and_dirty();
    test_rights();
    test_execute();
    test_smap();
    test_large_pages();
    test_reserved_address_bits();
    test_addresses();
    test_tables_outside_ram();
    test_tables_that_loop();
    test_change_under_a_walk();
    fake_free(&fake);
    return check_finish();
}
