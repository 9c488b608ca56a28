/* The software TLB: its content, when entries are removed, and slow accesses. */
#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/engine_api.h"
#include "../check.h"
#include "../host_file.h"

static int read_only_file;
#define FAKE_READ_ONLY_FILE read_only_file
#include "engine_fake.h"

#define VA 0x400000000ull
#define HIGH 0xffff888000020000ull

static struct fake fake;
static struct cpu *cpu;

static void test_fill(void)
{
    uint64_t *entry = fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W);
    *fake_word(&fake, 0x200010) = 0x1122334455667788;
    CHECK(!tlb_read(cpu, VA + 16, 8));
    CHECK(fake_load(cpu, VA + 16, 8) == 0x1122334455667788);
    CHECK(*entry == (0x200000 | P | W | A));
    CHECK(tlb_read(cpu, VA + 16, 8) == fake_ram(&fake, 0x200010));
    /* Dirty before the write entry exists. */
    CHECK(!tlb_write(cpu, VA + 16, 8));
    fake_store(cpu, VA + 20, 2, 0xabcd);
    CHECK(*entry == (0x200000 | P | W | A | D));
    CHECK(tlb_write(cpu, VA + 16, 8) == fake_ram(&fake, 0x200010));
    CHECK(fake_load(cpu, VA + 16, 8) == 0x1122abcd55667788);
    /* The tag does not match if the access extends into the next page. */
    CHECK(!tlb_read(cpu, VA + 4090, 8));
    CHECK(tlb_read(cpu, VA + 4088, 8));
}

static void test_two_pages(void)
{
    fake_map(&fake, FAKE_ROOT, VA + 0x1000, 0x300000 | P | W);
    CHECK(FAKE_TRY(cpu, fake_store(cpu, VA + 0xffd, 8, 0x0807060504030201)) == 0);
    CHECK(memcmp(fake_ram(&fake, 0x200ffd), "\1\2\3", 3) == 0);
    CHECK(memcmp(fake_ram(&fake, 0x300000), "\4\5\6\7\10", 5) == 0);
    CHECK(fake_load(cpu, VA + 0xffd, 8) == 0x0807060504030201);
    /* Nothing is written if the second page faults. */
    fake_map(&fake, FAKE_ROOT, VA + 0x1000, 0x300000 | P);
    tlb_flush_page(cpu, VA + 0x1000);
    CHECK(FAKE_TRY(cpu, fake_store(cpu, VA + 0xffd, 8, 0)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.vector == VECTOR_PF && cpu->exception.address == VA + 0x1000);
    CHECK(cpu->exception.error == (PF_PRESENT | PF_WRITE));
    CHECK(memcmp(fake_ram(&fake, 0x200ffd), "\1\2\3", 3) == 0);
}

static void test_faults(void)
{
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA + 0x5000, 1)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.vector == VECTOR_PF && cpu->exception.error == 0);
    CHECK(FAKE_TRY(cpu, fake_load(cpu, 1ull << 47, 1)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.vector == VECTOR_GP && cpu->exception.error == 0);
    struct insn insn = {.place = 0x123};
    cpu->r[REG_PAGE] = 0x7000;
    CHECK(FAKE_TRY(cpu, access_load(cpu, &insn, VA + 0x5000, 1)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->rip == 0x7123);
}

static void test_smap(void)
{
    fake_map(&fake, FAKE_ROOT, VA + 0x6000, 0x206000 | P | W | U);
    cpu->sregs.cr4 |= CR4_SMAP;
    tlb_flush_all(cpu);
    cpu_choose_tlb(cpu);
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA + 0x6000, 1)) == INTERPRETED_EXCEPTION);
    cpu->rflags |= RFLAGS_AC;
    cpu_choose_tlb(cpu);
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA + 0x6000, 1)) == 0);
    /* Implicit accesses ignore AC, and leave the TLB entries of explicit ones alone. */
    CHECK(FAKE_TRY(cpu, access_system_load(cpu, NULL, VA + 0x6000, 8)) == INTERPRETED_EXCEPTION);
    cpu->rflags &= ~(uint64_t)RFLAGS_AC;
    cpu_choose_tlb(cpu);
    CHECK(!tlb_read(cpu, VA + 0x6000, 1));
    cpu_set_cpl(cpu, 3);
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA + 0x6000, 1)) == 0);
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA, 1)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.error == (PF_PRESENT | PF_USER));
    CHECK(FAKE_TRY(cpu, access_system_load(cpu, NULL, VA, 8)) == 0);
    cpu_set_cpl(cpu, 0);
    cpu->sregs.cr4 &= ~(uint64_t)CR4_SMAP;
    tlb_flush_all(cpu);
    cpu_choose_tlb(cpu);
}

/* MOV CR3 drops pages by their G bit alone, wherever they are; with CR4.PGE clear, all. */
static void test_global_pages(void)
{
    uint64_t low = VA + 0x50000000, large = HIGH + 0x40000000, large_low = low + 0x40000000;
    fake_map(&fake, FAKE_ROOT, HIGH, 0x210000 | P | W | G);
    fake_map(&fake, FAKE_ROOT, HIGH + 0x1000, 0x211000 | P | W);
    fake_map(&fake, FAKE_ROOT, low, 0x212000 | P | W | G);
    *fake_entry(&fake, FAKE_ROOT, large, 2) = 0x400000 | P | W | PS;
    *fake_entry(&fake, FAKE_ROOT, large_low, 2) = 0x400000 | P | W | PS | G;
    const uint64_t global[] = {HIGH, low, large_low + 0x3000},
                   nonglobal[] = {HIGH + 0x1000, large + 0x3000};
    for (unsigned i = 0; i < 3; i++)
        fake_load(cpu, global[i], 1);
    for (unsigned i = 0; i < 2; i++)
        fake_store(cpu, nonglobal[i], 1, 0);
    tlb_flush_nonglobal(cpu);
    for (unsigned i = 0; i < 3; i++)
        CHECK(tlb_read(cpu, global[i], 1));
    for (unsigned i = 0; i < 2; i++)
        CHECK(!tlb_read(cpu, nonglobal[i], 1) && !tlb_write(cpu, nonglobal[i], 1));
    /* A large page is still known to be one. */
    tlb_flush_page(cpu, large_low + 0x1ff000);
    CHECK(!tlb_read(cpu, large_low + 0x3000, 1) && tlb_read(cpu, low, 1));
    /* The bit is that of the last walk. */
    *fake_entry(&fake, FAKE_ROOT, HIGH, 1) = 0x210000 | P | W;
    fake_store(cpu, HIGH, 1, 0);
    tlb_flush_nonglobal(cpu);
    CHECK(!tlb_read(cpu, HIGH, 1) && tlb_read(cpu, low, 1));
    /* More of them than are listed. */
    for (unsigned i = 0; i <= FILLS_MAX + 1; i++) {
        fake_map(&fake, FAKE_ROOT, HIGH + 0x100000 + i * PAGE_SIZE, 0x210000 | P);
        fake_load(cpu, HIGH + 0x100000 + i * PAGE_SIZE, 1);
    }
    tlb_flush_nonglobal(cpu);
    for (unsigned i = 0; i <= FILLS_MAX + 1; i++)
        CHECK(!tlb_read(cpu, HIGH + 0x100000 + i * PAGE_SIZE, 1));
    CHECK(tlb_read(cpu, low, 1));
    cpu->sregs.cr4 &= ~(uint64_t)CR4_PGE;
    tlb_flush_nonglobal(cpu);
    CHECK(!tlb_read(cpu, low, 1));
    cpu->sregs.cr4 |= CR4_PGE;
}

static void test_flushes(void)
{
    fake_map(&fake, FAKE_ROOT, HIGH, 0x210000 | P | W | G);
    *fake_entry(&fake, FAKE_ROOT, VA + 0x40000000, 2) = 0x400000 | P | W | PS;
    fake_load(cpu, HIGH, 1);
    fake_load(cpu, VA, 1);
    tlb_flush_nonglobal(cpu);
    CHECK(tlb_read(cpu, HIGH, 1) && !tlb_read(cpu, VA, 1));
    fake_load(cpu, VA, 1);
    tlb_flush_page(cpu, VA);
    CHECK(tlb_read(cpu, HIGH, 1) && !tlb_read(cpu, VA, 1));
    /* INVLPG of any part of a large page flushes all of it. */
    fake_load(cpu, VA + 0x40003000, 1);
    fake_load(cpu, VA, 1);
    CHECK(tlb_read(cpu, VA + 0x40003000, 1) == fake_ram(&fake, 0x403000));
    tlb_flush_page(cpu, VA + 0x401ff000);
    CHECK(!tlb_read(cpu, VA + 0x40003000, 1));
    CHECK(tlb_read(cpu, VA, 1));
    uint64_t gigabyte = (VA & ~0x3fffffffull) + 0x80000000;
    *fake_entry(&fake, FAKE_ROOT, gigabyte, 3) = P | W | PS;
    fake_load(cpu, gigabyte + 0x403000, 1);
    CHECK(tlb_read(cpu, gigabyte + 0x403000, 1) == fake_ram(&fake, 0x403000));
    tlb_flush_page(cpu, gigabyte + 0x3ffff000);
    CHECK(!tlb_read(cpu, gigabyte + 0x403000, 1));
    fake_load(cpu, VA, 1);
    /* When another page replaces an entry, its write permission is removed as well. */
    fake_store(cpu, VA, 1, 0);
    fake_map(&fake, FAKE_ROOT, VA + TLB_ENTRIES * PAGE_SIZE, 0x212000 | P);
    fake_load(cpu, VA + TLB_ENTRIES * PAGE_SIZE, 1);
    CHECK(!tlb_write(cpu, VA + TLB_ENTRIES * PAGE_SIZE, 1) && !tlb_write(cpu, VA, 1));
}

static void test_device(void)
{
    fake_map(&fake, FAKE_ROOT, VA + 0x7000, FAKE_DEVICE | P | W);
    fake_store(cpu, VA + 0x7000, 4, 0x12345678);
    CHECK(fake_load(cpu, VA + 0x7000, 2) == 0x5678);
    CHECK(!tlb_read(cpu, VA + 0x7000, 1));
    CHECK(!access_host_page(cpu, NULL, VA + 0x7000, false));
    /* Half RAM, half device. */
    fake_map(&fake, FAKE_ROOT, VA + 0x8000, 0x213000 | P | W);
    fake_map(&fake, FAKE_ROOT, VA + 0x9000, FAKE_DEVICE | P | W);
    fake_store(cpu, VA + 0x8ffd, 8, 0x0807060504030201);
    CHECK(memcmp(fake_device, "\4\5\6\7\10", 5) == 0);
    CHECK(fake_load(cpu, VA + 0x8ffd, 8) == 0x0807060504030201);
    CHECK(access_compare_exchange(cpu, NULL, VA + 0x9000, 4, 0x07060504, 9) == 0x07060504);
    CHECK(memcmp(fake_device, "\11\0\0\0", 4) == 0);
}

/* Reads are of memory; writes go to a device, as in KVM, whatever read it before. */
static void test_read_only(void)
{
    uint64_t va = VA + 0xa000;
    fake_map(&fake, FAKE_ROOT, va, FAKE_READ_ONLY | P | W);
    unsigned writes = fake_device_writes;
    fake_store(cpu, va, 8, 1);
    CHECK(fake_load(cpu, va, 8) == 0x1122334455667788);
    CHECK(tlb_read(cpu, va, 8) && !tlb_write(cpu, va, 8));
    fake_store(cpu, va, 8, 2);
    access_compare_exchange(cpu, NULL, va, 8, 0x1122334455667788, 3);
    /* From RAM into it. */
    fake_map(&fake, FAKE_ROOT, va - PAGE_SIZE, 0x220000 | P | W);
    fake_store(cpu, va - 4, 8, 0xddddddddcccccccc);
    CHECK(*(uint32_t *)fake_ram(&fake, 0x220ffc) == 0xcccccccc);
    CHECK(fake_device_writes >= writes + 3 && !tlb_write(cpu, va, 8));
    CHECK(fake_load(cpu, va, 8) == 0x1122334455667788);
    uint64_t content = 0;
    CHECK(pread(read_only_file, &content, 8, 0) == 8 && content == 0x1122334455667788);
    /* Page tables are not looked for there: the processor could not set their accessed bits. */
    *fake_entry(&fake, FAKE_ROOT, VA + (1ull << 30), 2) = FAKE_READ_ONLY | P | W | U;
    CHECK(FAKE_TRY(cpu, fake_load(cpu, VA + (1ull << 30), 8)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.vector == VECTOR_PF && cpu->exception.error == 0);
}

static void test_locked(void)
{
    for (unsigned offset = 0; offset < 80; offset++)
        for (unsigned size = 1; size <= 8; size *= 2) {
            uint64_t mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;
            uint64_t va = VA + 0x100 + offset, old = 0x8877665544332211 & mask;
            uint8_t *at = fake_ram(&fake, 0x200100 + offset);
            memset(at - 8, 0xee, 24);
            memcpy(at, &old, size);
            CHECK(access_compare_exchange(cpu, NULL, va, size, ~old, 1) == old);
            CHECK(memcmp(at, &old, size) == 0);
            uint64_t new = 0x1122334455667788 & mask;
            CHECK(access_compare_exchange(cpu, NULL, va, size, old, new) == old);
            CHECK(memcmp(at, &new, size) == 0 && at[-1] == 0xee && at[size] == 0xee);
            CHECK(access_exchange(cpu, NULL, va, size, old) == new);
            CHECK(memcmp(at, &old, size) == 0 && at[-1] == 0xee && at[size] == 0xee);
        }
    /* Across two pages. */
    fake_map(&fake, FAKE_ROOT, VA + 0x1000, 0x300000 | P | W);
    tlb_flush_page(cpu, VA + 0x1000);
    fake_store(cpu, VA + 0xffd, 8, 0x0102030405060708);
    CHECK(access_exchange(cpu, NULL, VA + 0xffd, 8, 5) == 0x0102030405060708);
    CHECK(access_compare_exchange(cpu, NULL, VA + 0xffd, 8, 4, 6) == 5);
    CHECK(access_compare_exchange(cpu, NULL, VA + 0xffd, 8, 5, 6) == 5);
    CHECK(fake_load(cpu, VA + 0xffd, 8) == 6);
    uint64_t expected[2] = {0, 1}, value[2] = {7, 8};
    fake_store(cpu, VA + 0x200, 8, 1);
    fake_store(cpu, VA + 0x208, 8, 2);
    CHECK(!access_compare_exchange_16(cpu, NULL, VA + 0x200, expected, value));
    CHECK(expected[0] == 1 && expected[1] == 2);
    CHECK(access_compare_exchange_16(cpu, NULL, VA + 0x200, expected, value));
    CHECK(fake_load(cpu, VA + 0x200, 8) == 7 && fake_load(cpu, VA + 0x208, 8) == 8);
}

static void test_copies(void)
{
    uint8_t out[5000], in[5000];
    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7);
    access_copy_out(cpu, NULL, VA + 0x321, out, sizeof(out));
    access_copy_in(cpu, NULL, VA + 0x321, in, sizeof(in));
    CHECK(memcmp(in, out, sizeof(in)) == 0);
    /* Nothing is written if the end faults. */
    fake_map(&fake, FAKE_ROOT, VA + 0x1000, 0);
    tlb_flush_page(cpu, VA + 0x1000);
    memset(out, 1, sizeof(out));
    CHECK(FAKE_TRY(cpu, access_copy_out(cpu, NULL, VA + 0x321, out, sizeof(out))) ==
          INTERPRETED_EXCEPTION);
    CHECK(memcmp(in, fake_ram(&fake, 0x200321), 4096 - 0x321) == 0);
}

/* What a mispredicted tag comparison would read. */
static bool is_inside_memory(void)
{
    bool inside = true;
    for (unsigned i = 0; i < TLB_MODES * TLB_ENTRIES; i++) {
        const uint8_t *page = cpu->tlbs[i / TLB_ENTRIES][i % TLB_ENTRIES].page;
        uint64_t gpa = guest_memory_gpa(&fake.memory, page);
        inside &= gpa % PAGE_SIZE == 0 && guest_memory_readable_at(&fake.memory, gpa, PAGE_SIZE);
    }
    return inside;
}

static void test_entries_stay_inside_guest_memory(void)
{
    CHECK(is_inside_memory());
    tlb_flush_all(cpu);
    CHECK(is_inside_memory());
    const uint64_t places[] = {0x200000,           FAKE_DEVICE,    FAKE_MEMORY,
                               FAKE_MEMORY - 4096, FAKE_READ_ONLY, FAKE_READ_ONLY + 4096,
                               0xfffffff000};
    for (unsigned i = 0; i < 7; i++)
        for (unsigned flags = 0; flags < 8; flags++) {
            fake_map(&fake, FAKE_ROOT, VA, places[i] | flags);
            tlb_flush_page(cpu, VA);
            (void)FAKE_TRY(cpu, fake_load(cpu, VA, 8));
            (void)FAKE_TRY(cpu, fake_store(cpu, VA + 4092, 8, 1));
            CHECK(is_inside_memory());
        }
}

static void test_dirty_bitmap(void)
{
    uint64_t bitmap[FAKE_MEMORY >> 18] = {0};
    uint64_t frames = FAKE_MEMORY >> 12;
    fake_map(&fake, FAKE_ROOT, VA, 0x200000 | P | W);
    fake_store(cpu, VA, 1, 1);
    safepoint_exit(cpu);
    engine_take_dirty(&fake.engine, 0, frames, bitmap);
    safepoint_enter(cpu);
    CHECK(bitmap[0x200 / 64] & 1);
    memset(bitmap, 0, sizeof(bitmap));
    fake_load(cpu, VA, 1);
    fake_store(cpu, VA + 8, 1, 1);
    engine_memory_written(&fake.engine, 0x205fff, 2);
    engine_memory_written(&fake.engine, FAKE_MEMORY - 1, 2);
    safepoint_exit(cpu);
    engine_take_dirty(&fake.engine, 0, frames, bitmap);
    CHECK(bitmap[0x200 / 64] == (1ull | 1ull << 5 | 1ull << 6));
    memset(bitmap, 0, sizeof(bitmap));
    engine_take_dirty(&fake.engine, 0, frames, bitmap);
    safepoint_enter(cpu);
    CHECK(bitmap[0x200 / 64] == 0);
}

int main(void)
{
    uint64_t content = 0x1122334455667788;
    read_only_file = host_file(2 * PAGE_SIZE);
    CHECK(pwrite(read_only_file, &content, 8, 0) == 8);
    if (!CHECK(fake_init(&fake, 1)))
        return check_finish();
    cpu = fake.cpus;
    test_fill();
    test_two_pages();
    test_faults();
    test_smap();
    test_global_pages();
    test_flushes();
    test_device();
    test_read_only();
    test_locked();
    test_copies();
    test_entries_stay_inside_guest_memory();
    test_dirty_bitmap();
    fake_free(&fake);
    close(read_only_file);
    return check_finish();
}
