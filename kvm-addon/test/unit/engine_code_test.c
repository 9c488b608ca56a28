/*
 * The code cache: runs, instructions that span two pages, code that changes, and bounds.
 * Instructions of the fake decoder: the opcode's low 4 bits are the length, bit 7 ends a run.
 */
#include "../../src/pvm/code_arena.h"
#include "../../src/pvm/code_lookup.h"
#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/engine_api.h"
#include "../check.h"
#include "engine_fake.h"

#define VA 0xffffffff81000000ull
#define USER 0x400000ull
#define RAM 0x200000ull

static struct fake fake;
static struct cpu *cpu;

static void start(unsigned cpus)
{
    fake_init(&fake, cpus);
    cpu = fake.cpus;
    for (unsigned i = 1; i < cpus; i++)
        safepoint_exit(&fake.cpus[i]);
}

static uint8_t *ram(uint64_t gpa)
{
    return fake_ram(&fake, gpa);
}

/* A kernel page of instructions of 5 bytes; the last one ends the run. */
static void map_code(uint64_t va, uint64_t gpa, uint64_t flags)
{
    fake_map(&fake, FAKE_ROOT, va, gpa | P | W | flags);
    memset(ram(gpa), 1, PAGE_SIZE);
    for (unsigned i = 0; i < 4; i++)
        *ram(gpa + 5 * i) = (uint8_t)(0x15 + 0x10 * i);
    *ram(gpa + 20) = 0x81;
}

/* The decoded opcode at `va`, or the negative reason why there is none. */
static int lookup(struct cpu *by, uint64_t va)
{
    struct insn *volatile insn = NULL;
    int why = FAKE_TRY(by, insn = code_lookup(by, va));
    return why ? -why : (int)insn->immediate;
}

static bool found(struct cpu *by, uint64_t va)
{
    return code_find(by, va) != NULL;
}

static void test_runs(void)
{
    start(1);
    map_code(VA, RAM, G);
    CHECK(!found(cpu, VA));
    struct insn *first = code_lookup(cpu, VA);
    CHECK(cpu->counters->decoded == 5 && cpu->rip == VA);
    for (unsigned i = 0; i < 4; i++)
        CHECK(insn_offset(&first[i]) == 5 * i && first[i].ordinal == i &&
              first[i].immediate == 0x15 + 0x10 * i && code_find(cpu, VA + 5 * i) == &first[i]);
    CHECK(first[4].immediate == 0x81);
    CHECK(first[5].handler == insn_page_end && first[5].relative == 21 && first[5].ordinal == 5);
    CHECK(code_lookup(cpu, VA + 5) == &first[1]);
    /* Starts in the middle of an instruction and continues to one that is already decoded. */
    *ram(RAM + 1) = 4;
    struct insn *other = code_lookup(cpu, VA + 1);
    CHECK(other[0].immediate == 4 && other[1].handler == insn_goto && other[1].target == &first[1]);
    /* Long runs are split; the next lookup continues. */
    struct insn *rest = code_lookup(cpu, VA + 100);
    CHECK(rest[CODE_RUN_INSNS].handler == insn_page_end &&
          rest[CODE_RUN_INSNS].relative == 100 + (int)CODE_RUN_INSNS);
    /* The end of the page. */
    struct insn *last = code_lookup(cpu, VA + 4094);
    CHECK(last[2].handler == insn_page_end && last[2].relative == 4096 && last[2].ordinal == 2);
    fake_free(&fake);
}

static void test_fetch_faults(void)
{
    start(1);
    CHECK(lookup(cpu, VA) == -INTERPRETED_EXCEPTION && cpu->exception.vector == VECTOR_PF);
    CHECK(cpu->rip == VA && cpu->exception.address == VA && cpu->exception.error == PF_FETCH);
    CHECK(lookup(cpu, 1ull << 50) == -INTERPRETED_EXCEPTION && cpu->exception.vector == VECTOR_GP);
    /* Device windows, and addresses beyond RAM. */
    fake_map(&fake, FAKE_ROOT, VA, FAKE_DEVICE | P | W | U);
    fake_map(&fake, FAKE_ROOT, VA + PAGE_SIZE, FAKE_MEMORY | P | W);
    CHECK(lookup(cpu, VA) == -INTERPRETED_STEP);
    CHECK(lookup(cpu, VA + PAGE_SIZE + 77) == -INTERPRETED_STEP && cpu->rip == VA + 4096 + 77);
    fake_map(&fake, FAKE_ROOT, USER, FAKE_DEVICE | P | W | U);
    cpu_set_cpl(cpu, 3);
    CHECK(lookup(cpu, USER) == -INTERPRETED_NATIVE);
    cpu_set_cpl(cpu, 0);
    fake_free(&fake);
}

/* An instruction of 10 bytes that begins 4 before the end. */
static void test_instruction_over_two_pages(void)
{
    start(1);
    map_code(VA, RAM, G);
    *ram(RAM + 4092) = 0x1a;
    CHECK(lookup(cpu, VA + 4092) == -INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.address == VA + 4096 && cpu->rip == VA + 4092);
    map_code(VA + PAGE_SIZE, RAM + 0x5000, G);
    *ram(RAM + 0x5005) = 0x77; /* its last byte */
    struct insn *insn = code_lookup(cpu, VA + 4092);
    CHECK(insn->immediate == 0x1a && insn_length(insn) == 10 && insn->displacement == 0x77);
    CHECK(insn[1].handler == insn_page_end && insn[1].relative == 4102);
    CHECK(code_lookup(cpu, VA + 4092) == insn);
    CHECK(!found(cpu, VA + 4092));
    /* A run that reaches it ends before it. */
    *ram(RAM + 4091) = 0x31;
    insn = code_lookup(cpu, VA + 4091);
    CHECK(insn[1].handler == insn_page_end && insn[1].relative == 4092);
    /* The next page is written, remapped, or unmapped: chained jumps become invalid, too. */
    uint32_t generation = cpu->generation;
    fake_store(cpu, VA + PAGE_SIZE + 5, 1, 0x78);
    CHECK(cpu->generation != generation);
    CHECK(code_lookup(cpu, VA + 4092)->displacement == 0x78);
    generation = cpu->generation;
    fake_map(&fake, FAKE_ROOT, VA + PAGE_SIZE, (RAM + 0x6000) | P);
    tlb_flush_page(cpu, VA + PAGE_SIZE);
    CHECK(cpu->generation != generation);
    CHECK(code_lookup(cpu, VA + 4092)->displacement == 0);
    fake_map(&fake, FAKE_ROOT, VA + PAGE_SIZE, FAKE_MEMORY | P);
    tlb_flush_page(cpu, VA + PAGE_SIZE);
    CHECK(lookup(cpu, VA + 4092) == -INTERPRETED_STEP);
    /* At the very end of the address space. */
    fake_map(&fake, FAKE_ROOT, 0xfffffffffffff000, RAM | P);
    CHECK(lookup(cpu, 0xfffffffffffffffc) == -INTERPRETED_EXCEPTION && cpu->exception.address == 0);
    fake_free(&fake);
}

static void test_self_modifying_code(void)
{
    start(1);
    map_code(VA, RAM, G);
    fake_map(&fake, FAKE_ROOT, VA + 0x7000, RAM | P | W | G); /* an alias for stores */
    fake_store(cpu, VA + 0x7000 + 100, 1, 1);
    CHECK(tlb_write(cpu, VA + 0x7000, 1));
    struct insn *insn = code_lookup(cpu, VA);
    CHECK(insn->immediate == 0x15);
    /* The write entry was removed before the first byte was decoded. */
    CHECK(!tlb_write(cpu, VA + 0x7000, 1) && !access_host_page(cpu, NULL, VA + 0x7000, true));
    uint32_t generation = cpu->generation;
    struct insn store = {.place = 0};
    int why = FAKE_TRY(cpu, access_store(cpu, &store, VA + 0x7000, 1, 0x25));
    CHECK(why == INTERPRETED_ONCE && *ram(RAM) == 0x15 && found(cpu, VA));
    cpu->once = true;
    frame_at(&fake.engine.frames, RAM)->flags = 0;
    why = FAKE_TRY(cpu, access_store(cpu, &store, VA + 0x7000, 1, 0x25));
    CHECK(frame_at(&fake.engine.frames, RAM)->flags == FRAME_DIRTY);
    cpu->once = false;
    CHECK(why == 0 && !found(cpu, VA) && cpu->generation != generation);
    CHECK(lookup(cpu, VA) == 0x25);
    CHECK(cpu->counters->code_invalidations == 1);
    /* After that it is data, until it is executed again. */
    cpu->once = true;
    fake_store(cpu, VA + 0x7000, 1, 0x35);
    cpu->once = false;
    fake_store(cpu, VA + 0x7001, 1, 0);
    CHECK(tlb_write(cpu, VA + 0x7000, 1));
    CHECK(lookup(cpu, VA) == 0x35);
    /* Locked operations, and stores that span two pages. */
    cpu->once = true;
    CHECK(access_exchange(cpu, &store, VA + 0x7000, 2, 0x45) == 0x35);
    CHECK(lookup(cpu, VA) == 0x45);
    map_code(VA + PAGE_SIZE, RAM + 0x5000, G);
    fake_map(&fake, FAKE_ROOT, VA + 0x8000, (RAM + 0x5000) | P | W | G);
    CHECK(lookup(cpu, VA + PAGE_SIZE) == 0x15);
    access_store(cpu, &store, VA + 0x7ffe, 4, 0x55550101);
    CHECK(lookup(cpu, VA + PAGE_SIZE) == 0x55 && lookup(cpu, VA) == 0x45);
    cpu->once = false;
    /* A device's write. */
    *ram(RAM) = 0x65;
    engine_memory_written(&fake.engine, RAM, 1);
    CHECK(cpu->attention & ATTENTION_REQUESTS);
    safepoint_serve(cpu);
    CHECK(!found(cpu, VA) && lookup(cpu, VA) == 0x65);
    fake_free(&fake);
}

/* Another vCPU loses its write entry before the first byte is decoded. */
static void test_code_that_a_neighbour_changes(void)
{
    start(2);
    struct cpu *other = &fake.cpus[1];
    map_code(VA, RAM, G);
    fake_map(&fake, FAKE_ROOT, VA + 0x7000, RAM | P | W | G);
    safepoint_enter(other);
    fake_store(other, VA + 0x7000 + 100, 1, 1);
    CHECK(tlb_write(other, VA + 0x7000, 1));
    safepoint_exit(other);
    CHECK(lookup(cpu, VA) == 0x15 && cpu->counters->frame_protections == 1);
    safepoint_enter(other);
    CHECK(!tlb_write(other, VA + 0x7000, 1));
    CHECK(frame_at(&fake.engine.frames, RAM)->write_cpus == 0);
    /* Its store succeeds, and this vCPU is notified. It need not leave, because the code is not its
     * own. */
    struct insn store = {.place = 0};
    CHECK(FAKE_TRY(other, access_store(other, &store, VA + 0x7000, 1, 0x25)) == 0);
    safepoint_exit(other);
    CHECK(cpu->attention & ATTENTION_REQUESTS && found(cpu, VA));
    safepoint_serve(cpu);
    CHECK(!(cpu->attention & ATTENTION_REQUESTS) && !found(cpu, VA) && lookup(cpu, VA) == 0x25);
    /* More requests than can be stored: everything is dropped. */
    for (unsigned i = 1; i < SAFEPOINT_REQUESTS_MAX + 10; i++) {
        map_code(VA + i * PAGE_SIZE, RAM + i * PAGE_SIZE, G);
        CHECK(lookup(cpu, VA + i * PAGE_SIZE) == 0x15);
    }
    for (unsigned i = 1; i < SAFEPOINT_REQUESTS_MAX + 10; i++) {
        *ram(RAM + i * PAGE_SIZE) = 0x45;
        engine_memory_written(&fake.engine, RAM + i * PAGE_SIZE, 1);
    }
    safepoint_serve(cpu);
    for (unsigned i = 1; i < SAFEPOINT_REQUESTS_MAX + 10; i++)
        CHECK(!found(cpu, VA + i * PAGE_SIZE) && lookup(cpu, VA + i * PAGE_SIZE) == 0x45);
    fake_free(&fake);
}

static void test_decode_once(void)
{
    start(1);
    map_code(VA, RAM, G);
    struct insn *insn = code_decode_once(cpu, VA + 5);
    CHECK(insn->immediate == 0x25 && insn->ordinal == 0);
    CHECK(insn[1].handler == insn_page_end && insn[1].relative == 10);
    CHECK(!found(cpu, VA + 5));
    /* The next page is accessed only where the instruction continues there. */
    CHECK(code_decode_once(cpu, VA + 4095)->immediate == 1);
    *ram(RAM + 4095) = 2;
    CHECK(FAKE_TRY(cpu, code_decode_once(cpu, VA + 4095)) == INTERPRETED_EXCEPTION);
    CHECK(cpu->exception.address == VA + 4096);
    map_code(VA + PAGE_SIZE, RAM + 0x5000, G);
    insn = code_decode_once(cpu, VA + 4095);
    CHECK(insn->immediate == 2 && insn_length(insn) == 2 && insn[1].relative == 4097);
    fake_free(&fake);
}

static void test_modes(void)
{
    start(1);
    map_code(USER, RAM, U);
    cpu_set_cpl(cpu, 3);
    CHECK(code_lookup(cpu, USER)->scale == 0);
    uint32_t generation = cpu->generation;
    cpu->compat = true;
    cpu_set_cpl(cpu, 3);
    CHECK(cpu->generation != generation && !found(cpu, USER));
    CHECK(code_lookup(cpu, USER)->scale == 1);
    cpu->compat = false;
    cpu_set_cpl(cpu, 3);
    CHECK(!found(cpu, USER) && code_lookup(cpu, USER)->scale == 0);
    /* The same page at CPL 0. */
    cpu_set_cpl(cpu, 0);
    CHECK(!found(cpu, USER) && lookup(cpu, USER) == 0x15);
    cpu->sregs.cr4 |= CR4_SMEP;
    tlb_flush_all(cpu);
    CHECK(lookup(cpu, USER) == -INTERPRETED_EXCEPTION);
    cpu_set_cpl(cpu, 3);
    CHECK(lookup(cpu, USER) == 0x15);
    fake_free(&fake);
}

/* A native run may change code without being noticed. */
static void test_programs_that_change_natively(void)
{
    start(2);
    map_code(USER, RAM, U);
    cpu_set_cpl(cpu, 3);
    code_enter_user(cpu);
    struct insn *insn = code_lookup(cpu, USER);
    uint32_t generation = cpu->generation;
    code_enter_user(cpu);
    CHECK(found(cpu, USER) && cpu->generation == generation);
    /* A native run that changed nothing: the code is checked and kept. */
    fake.engine.native_epoch++;
    code_enter_user(cpu);
    CHECK(!found(cpu, USER) && cpu->generation != generation);
    CHECK(code_lookup(cpu, USER) == insn);
    fake.engine.native_epoch++;
    *ram(RAM) = 0x25;
    code_enter_user(cpu);
    CHECK(lookup(cpu, USER) == 0x25);
    /* Another vCPU is running natively: checked each time. */
    fake.engine.native_running = 1;
    *ram(RAM) = 0x35;
    code_enter_user(cpu);
    CHECK(lookup(cpu, USER) == 0x35);
    *ram(RAM) = 0x45;
    code_enter_user(cpu);
    CHECK(lookup(cpu, USER) == 0x45);
    fake.engine.native_running = 0;
    fake_free(&fake);
}

static void test_flushes(void)
{
    start(1);
    map_code(VA, RAM, G);
    map_code(USER, RAM + 0x1000, 0);
    code_lookup(cpu, VA);
    uint32_t generation = cpu->generation;
    /* Flushes for programs do not affect kernel code in the upper half. */
    tlb_flush_nonglobal(cpu);
    tlb_flush_page(cpu, USER);
    CHECK(found(cpu, VA) && cpu->generation == generation);
    /* The page of a chained jump may have left the code TLB before the flush. */
    uint64_t rival = VA + PAGE_SIZE;
    while (code_slot(rival) != code_slot(VA))
        rival += PAGE_SIZE;
    map_code(rival, RAM + 0x2000, G);
    code_lookup(cpu, rival);
    CHECK(!found(cpu, VA));
    tlb_flush_page(cpu, VA);
    CHECK(cpu->generation != generation);
    /* A page without code. */
    generation = cpu->generation;
    tlb_flush_page(cpu, VA + 0x3000);
    CHECK(cpu->generation == generation && found(cpu, rival));
    /* CPL 0 in the lower half. */
    code_lookup(cpu, USER);
    generation = cpu->generation;
    tlb_flush_page(cpu, USER);
    CHECK(cpu->generation != generation && !found(cpu, USER));
    code_lookup(cpu, USER);
    generation = cpu->generation;
    tlb_flush_nonglobal(cpu);
    CHECK(cpu->generation != generation && !found(cpu, USER));
    /* Kernel code in the upper half in a page that is not global. */
    map_code(VA + 0x5000, RAM + 0x3000, 0);
    code_lookup(cpu, VA + 0x5000);
    generation = cpu->generation;
    tlb_flush_nonglobal(cpu);
    CHECK(cpu->generation != generation && !found(cpu, VA + 0x5000));
    CHECK(lookup(cpu, rival) == 0x15);
    generation = cpu->generation;
    tlb_flush_nonglobal(cpu);
    CHECK(cpu->generation == generation && found(cpu, rival));
    /* Part of a large page. */
    *fake_entry(&fake, FAKE_ROOT, VA + (1 << 21), 2) = 0x400000 | P | PS | G;
    memset(ram(0x400000), 1, 1 << 21);
    code_lookup(cpu, VA + (1 << 21));
    code_lookup(cpu, VA + (1 << 21) + 0x5000);
    tlb_flush_page(cpu, VA + (1 << 21) + 0x1ff000);
    CHECK(!found(cpu, VA + (1 << 21)) && !found(cpu, VA + (1 << 21) + 0x5000));
    fake_free(&fake);
}

/* ---- Bounds ---- */

static const struct code_pool *kernel_pool(void)
{
    return &cpu->code->pools[0];
}

static bool is_marked(uint64_t gpa)
{
    return frame_at(&fake.engine.frames, gpa)->code_cpus != 0;
}

/* Decodes more pages of programs than fit. */
static void run_many_programs(void)
{
    uint64_t flushes = cpu->counters->code_flushes;
    cpu_set_cpl(cpu, 3);
    for (unsigned i = 0; i < CODE_USER_PAGES_MAX + 1; i++) {
        uint64_t va = USER + (uint64_t)i * PAGE_SIZE;
        fake_map(&fake, FAKE_ROOT, va, (RAM + 0x1000) | P | U);
        CHECK(lookup(cpu, va) == 0x15);
        CHECK(cpu->code->pools[1].page_count <= CODE_USER_PAGES_MAX);
    }
    CHECK(cpu->counters->code_flushes == flushes + 1);
}

/* Programs come and go; the kernel stays. */
static void test_kernel_code_survives_programs(void)
{
    start(1);
    map_code(VA, RAM, G);
    map_code(USER, RAM + 0x1000, U);
    struct insn *kernel = code_lookup(cpu, VA);
    uint32_t generation = cpu->generation;
    run_many_programs();
    CHECK(cpu->code->pools[1].page_count == 1);
    cpu_set_cpl(cpu, 0);
    CHECK(code_find(cpu, VA) == kernel && cpu->generation == generation);
    CHECK(is_marked(RAM) && is_marked(RAM + 0x1000));
    fake_free(&fake);
}

/* A frame that both execute is watched until neither does. */
static void test_frame_in_both_pools(void)
{
    start(1);
    map_code(VA, RAM + 0x1000, G);
    map_code(USER, RAM + 0x1000, U);
    CHECK(lookup(cpu, VA) == 0x15);
    run_many_programs();
    code_flush_pool(cpu);
    cpu_set_cpl(cpu, 0);
    CHECK(is_marked(RAM + 0x1000) && found(cpu, VA));
    *ram(RAM + 0x1000) = 0x25;
    engine_memory_written(&fake.engine, RAM + 0x1000, 1);
    safepoint_serve(cpu);
    CHECK(!found(cpu, VA) && lookup(cpu, VA) == 0x25);
    code_flush_pool(cpu);
    CHECK(!is_marked(RAM + 0x1000) && kernel_pool()->page_count == 0);
    fake_free(&fake);
}

static void test_aliases_without_end(void)
{
    start(1);
    map_code(VA, RAM, G);
    for (unsigned i = 0; i < 2 * CODE_KERNEL_PAGES_MAX + 10; i++) {
        uint64_t va = VA + (uint64_t)i * PAGE_SIZE;
        fake_map(&fake, FAKE_ROOT, va, RAM | P | G);
        CHECK(lookup(cpu, va) == 0x15);
        CHECK(kernel_pool()->page_count <= CODE_KERNEL_PAGES_MAX);
    }
    CHECK(cpu->counters->code_flushes == 2);
    /* A single store drops all of them. */
    fake_map(&fake, FAKE_ROOT, USER, RAM | P | W);
    fake_store(cpu, USER, 1, 0x25);
    CHECK(frame_at(&fake.engine.frames, RAM)->code_cpus == 0);
    for (unsigned i = 2 * CODE_KERNEL_PAGES_MAX; i < 2 * CODE_KERNEL_PAGES_MAX + 10; i++)
        CHECK(!found(cpu, VA + (uint64_t)i * PAGE_SIZE));
    CHECK(lookup(cpu, VA) == 0x25);
    fake_free(&fake);
}

static void test_more_code_than_fits(void)
{
    start(1);
    uint64_t pages = CODE_KERNEL_INSNS_MAX / PAGE_SIZE + 10;
    for (unsigned i = 0; i < pages; i++) {
        fake_map(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, (0x400000 + i * PAGE_SIZE) | P | G);
        memset(ram(0x400000 + i * PAGE_SIZE), 1, PAGE_SIZE);
        for (unsigned offset = 0; offset < PAGE_SIZE; offset += CODE_RUN_INSNS)
            CHECK(lookup(cpu, VA + i * PAGE_SIZE + offset) == 1);
        CHECK(kernel_pool()->insn_count <= CODE_KERNEL_INSNS_MAX);
    }
    CHECK(cpu->counters->code_flushes == 1);
    /* No frame stays marked after its code was dropped. */
    uint64_t marked = 0;
    for (uint64_t i = 0; i < fake.engine.frames.count; i++)
        marked += fake.engine.frames.of[i].code_cpus != 0;
    CHECK(marked == kernel_pool()->page_count);
    fake_free(&fake);
}

/* One instruction in each part of every page. */
static void test_more_parts_than_fit(void)
{
    start(1);
    unsigned pages = CODE_KERNEL_PARTS_MAX / CODE_PAGE_PARTS + 10;
    for (unsigned offset = 0; offset < PAGE_SIZE; offset += CODE_PART)
        *ram(RAM + offset) = 0x81;
    for (unsigned i = 0; i < pages; i++) {
        fake_map(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, RAM | P | G);
        for (unsigned offset = 0; offset < PAGE_SIZE; offset += CODE_PART)
            CHECK(lookup(cpu, VA + i * PAGE_SIZE + offset) == 0x81);
        CHECK(kernel_pool()->part_count <= CODE_KERNEL_PARTS_MAX);
    }
    CHECK(cpu->counters->code_flushes == 1);
    CHECK(kernel_pool()->insn_count < CODE_KERNEL_INSNS_MAX / 2);
    /* What is decoded again after all was dropped does not share parts. */
    uint64_t last = VA + (pages - 1) * PAGE_SIZE;
    CHECK(found(cpu, last) && !found(cpu, last + 1) && !found(cpu, VA));
    CHECK(code_lookup(cpu, last) != code_lookup(cpu, last - PAGE_SIZE));
    fake_free(&fake);
}

/* Code that is decoded in small pieces while other code fills the arena: offsets have 16 bits. */
static void test_page_decoded_over_a_long_time(void)
{
    start(1);
    map_code(VA, RAM, G);
    struct insn *first = code_lookup(cpu, VA), *apart = code_lookup(cpu, VA + 1000);
    uint64_t used = 0;
    for (unsigned i = 1; kernel_pool()->insn_count < UINT16_MAX + 1000u; i++) {
        fake_map(&fake, FAKE_ROOT, VA + i * PAGE_SIZE, (0x400000 + i * PAGE_SIZE) | P | G);
        memset(ram(0x400000 + i * PAGE_SIZE), 1, PAGE_SIZE);
        for (unsigned offset = 0; offset < PAGE_SIZE; offset += CODE_RUN_INSNS)
            used += lookup(cpu, VA + i * PAGE_SIZE + offset) == 1;
    }
    CHECK(used > 200 && code_lookup(cpu, VA) == first);
    struct insn *late = code_lookup(cpu, VA + 48);
    CHECK(late > first + UINT16_MAX && code_find(cpu, VA + 48) == late);
    /* Code of the same part was dropped, and is decoded again correctly. */
    CHECK(!found(cpu, VA) && code_find(cpu, VA + 1000) == apart);
    CHECK(lookup(cpu, VA) == 0x15 && lookup(cpu, VA + 5) == 0x25);
    fake_free(&fake);
}

static void test_generations_start_anew(void)
{
    start(1);
    map_code(VA, RAM, G);
    struct insn *insn = code_lookup(cpu, VA);
    cpu->returns[3] = (struct return_entry){.va = VA, .insn = insn, .generation = cpu->generation};
    cpu->code->last_generation = 0xffffff00u;
    tlb_flush_all(cpu);
    CHECK(lookup(cpu, VA) == 0x15);
    /* No remaining code has a generation that is reused. */
    CHECK(cpu->generation < 10 && cpu->generation != 0 && cpu->returns[3].generation == 0);
    CHECK(cpu->counters->code_flushes == 1 && kernel_pool()->insn_count == 6);
    fake_free(&fake);
}

int main(void)
{
    test_runs();
    test_fetch_faults();
    test_instruction_over_two_pages();
    test_self_modifying_code();
    test_code_that_a_neighbour_changes();
    test_decode_once();
    test_modes();
    test_programs_that_change_natively();
    test_flushes();
    test_kernel_code_survives_programs();
    test_frame_in_both_pools();
    test_aliases_without_end();
    test_more_code_than_fits();
    test_more_parts_than_fit();
    test_page_decoded_over_a_long_time();
    test_generations_start_anew();
    return check_finish();
}
