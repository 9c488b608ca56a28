/*
 * Random page tables, control registers and accesses, through the TLB and its slow paths, against a
 * model that reads its own copy of memory and keeps nothing: every byte of memory, every loaded
 * value and every fault must be the same. Frames are code and tracked tables now and then, which
 * must make no difference.
 */
#define FAKE_MEMORY (96u << 10)

#include "../../src/pvm/code_lookup.h"
#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/engine_api.h"
#include "../unit/engine_fake.h"
#include "fuzz.h"

#define FRAMES (FAKE_MEMORY >> 12)
#define STEPS_MAX 400u

/* ---- The model ---- */

struct model {
    uint8_t ram[FAKE_MEMORY];
    uint8_t device[64];
    bool was_table[FRAMES]; /* read as a table since the last flush */
    bool was_root[FRAMES];  /* CPL 3 ran on it natively */
    bool global;            /* an entry with the G bit was used since then */
};

struct outcome {
    bool faults;
    unsigned vector;
    uint32_t error;
    uint64_t cr2;
    uint64_t gpa;
};

struct rights {
    bool user;   /* CPL 3 */
    bool lifted; /* RFLAGS.AC */
    bool write, fetch;
};

static struct fake fake;
static struct model *model;
static struct cpu *cpu;

/* SDM 3A 4.5.4, 4.6 and 4.7, in the same order. */
static struct outcome model_translate(uint64_t va, struct rights access)
{
    struct outcome out = {.vector = VECTOR_PF, .cr2 = va};
    uint64_t *used[4];
    unsigned count = 0, shift = 39;
    bool all_user = true, all_writable = true, any_xd = false;
    bool nxe = cpu->sregs.efer & EFER_NXE, smep = cpu->sregs.cr4 & CR4_SMEP;
    if (va >> 47 != 0 && va >> 47 != 0x1ffff) {
        out.faults = true;
        out.vector = VECTOR_GP;
        return out;
    }
    out.error =
        (access.write ? 2 : 0) + (access.user ? 4 : 0) + (access.fetch && (nxe || smep) ? 16 : 0);
    out.faults = true;
    uint64_t base = cpu->sregs.cr3 & 0xffffffffff000, entry, size;
    for (;;) {
        uint64_t at = base + (va >> shift) % 512 * 8;
        if (at + 8 > FAKE_MEMORY)
            return out;
        model->was_table[at / 4096] = true;
        used[count++] = (uint64_t *)(model->ram + at);
        entry = *used[count - 1];
        if (!(entry & 1))
            return out;
        size = 1ull << shift;
        bool is_page = shift == 12 || ((shift == 21 || shift == 30) && entry & 0x80);
        uint64_t reserved = 0x000fff0000000000;
        if (!nxe)
            reserved |= 1ull << 63;
        if (shift == 39)
            reserved |= 0x80;
        if (is_page && shift > 12)
            reserved |= size - 0x2000;
        if (entry & reserved) {
            out.error += 9;
            return out;
        }
        all_writable &= entry >> 1 & 1;
        all_user &= entry >> 2 & 1;
        any_xd |= entry >> 63;
        if (is_page)
            break;
        base = entry & 0xffffffffff000;
        shift -= 9;
    }
    bool denied = false;
    if (access.user) {
        denied |= !all_user;
        denied |= access.write && !all_writable;
        denied |= access.fetch && any_xd;
    } else if (access.fetch) {
        denied |= any_xd;
        denied |= all_user && smep;
    } else {
        denied |= all_user && cpu->sregs.cr4 & CR4_SMAP && !access.lifted;
        denied |= access.write && !all_writable && cpu->sregs.cr0 & CR0_WP;
    }
    if (denied) {
        out.error += 1;
        return out;
    }
    for (unsigned i = 0; i < count; i++)
        *used[i] |= 0x20;
    if (access.write)
        *used[count - 1] |= 0x40;
    model->global |= *used[count - 1] >> 8 & 1;
    out.faults = false;
    out.gpa = (entry & 0xffffffffff000 & ~(size - 1)) + va % size;
    return out;
}

static bool in_ram(uint64_t gpa)
{
    return gpa < FAKE_MEMORY;
}

/* Byte by byte, because an access across pages has two translations. */
static struct outcome model_access(uint64_t va, unsigned size, struct rights rights,
                                   uint64_t gpas[8])
{
    struct outcome first = {.faults = false};
    for (unsigned i = 0; i < size; i++) {
        if (i == 0 || (va + i) % 4096 == 0) {
            struct outcome next = model_translate(va + i, rights);
            if (next.faults)
                return next;
            first.gpa = next.gpa;
            gpas[i] = next.gpa;
        } else {
            gpas[i] = gpas[i - 1] + 1;
        }
    }
    return first;
}

static uint64_t model_load(const uint64_t gpas[8], unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = in_ram(gpas[i]) ? model->ram[gpas[i]] : model->device[gpas[i] % 64];
        value |= (uint64_t)byte << 8 * i;
    }
    return value;
}

static void model_store(const uint64_t gpas[8], unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++) {
        if (in_ram(gpas[i]))
            model->ram[gpas[i]] = (uint8_t)(value >> 8 * i);
        else
            model->device[gpas[i] % 64] = (uint8_t)(value >> 8 * i);
    }
}

/* ---- The engine's side, and the comparison ---- */

/*
 * Entries of a root for native runs are marked accessed when they are copied, because programs may
 * use them without being noticed. The model does the same here.
 */
static void learn_accessed(void)
{
    for (uint64_t root = 0; root < FAKE_MEMORY; root += PAGE_SIZE) {
        if (!model->was_root[root / PAGE_SIZE])
            continue;
        for (uint64_t gpa = root; gpa < root + PAGE_SIZE / 2; gpa += 8) {
            uint64_t *known = (uint64_t *)(model->ram + gpa), real = *fake_word(&fake, gpa);
            if (real & P && real == (*known | A))
                *known = real;
        }
    }
}

/* What a mispredicted tag comparison would read. */
static void check_entries(void)
{
    const uint8_t *ram = fake_ram(&fake, 0);
    for (unsigned i = 0; i < TLB_MODES * TLB_ENTRIES; i++)
        REQUIRE((uint64_t)(cpu->tlbs[i / TLB_ENTRIES][i % TLB_ENTRIES].page - ram) < FAKE_MEMORY);
}

static void compare(void)
{
    check_entries();
    learn_accessed();
    REQUIRE(memcmp(model->ram, fake_ram(&fake, 0), FAKE_MEMORY) == 0);
    REQUIRE(memcmp(model->device, fake_device, sizeof(fake_device)) == 0);
}

static void compare_outcome(int why, const struct outcome *expected)
{
    REQUIRE((why == INTERPRETED_EXCEPTION) == expected->faults);
    REQUIRE(why == 0 || why == INTERPRETED_EXCEPTION);
    if (!expected->faults)
        return;
    REQUIRE(cpu->exception.vector == expected->vector && cpu->exception.has_error);
    REQUIRE(cpu->exception.error == (expected->vector == VECTOR_PF ? expected->error : 0));
    if (expected->vector == VECTOR_PF)
        REQUIRE(cpu->exception.address == expected->cr2);
}

/* What kernels do after changing a page table. */
static void flush_after_store(uint64_t gpa, unsigned size)
{
    if (!in_ram(gpa) || !(model->was_table[gpa / 4096] ||
                          (in_ram(gpa + size - 1) && model->was_table[(gpa + size - 1) / 4096])))
        return;
    tlb_flush_all(cpu);
    memset(model->was_table, 0, sizeof(model->was_table));
    model->global = false;
}

/* Mostly the few initially mapped pages, in both halves, so that accesses coincide. */
static uint64_t draw_va(struct fuzz_input *input)
{
    uint8_t shape = input_u8(input);
    uint64_t va = 0;
    if (shape == 0xff)
        return input_u64(input);
    if (shape < 0xe0)
        va = (uint64_t)(shape & 3) << 12 | (uint64_t)(shape >> 2 & 1) << 21 |
             (shape >> 3 & 1 ? 0xffff800000000000 : 0);
    else
        for (unsigned level = 0; level < 4; level++)
            va |= (uint64_t)(input_u8(input) & 3) << (12 + 9 * level);
    return va + (input_u16(input) & 0xfff);
}

static uint64_t draw_entry(struct fuzz_input *input)
{
    uint8_t flags = input_u8(input), place = input_u8(input);
    uint64_t entry = (flags & 0x67) | (flags & 8 ? NX : 0) | (flags & 16 ? G : 0) |
                     (uint64_t)(place % (FRAMES + 2)) << 12;
    if (flags & 0x80)
        entry |= PS;
    if (place >= 0xf8)
        entry = input_u64(input);
    return entry;
}

static uint64_t draw_word(struct fuzz_input *input)
{
    uint16_t place = input_u16(input);
    uint64_t index = place >> 8 & 0x80 ? 256 + (place >> 8 & 3) : place >> 8 & 3;
    return (place & 0xff) % FRAMES * PAGE_SIZE + 8 * index;
}

static struct rights rights_of(bool is_write, bool is_fetch)
{
    return (struct rights){.user = cpu->cpl == 3,
                           .lifted = cpu->rflags & RFLAGS_AC,
                           .write = is_write,
                           .fetch = is_fetch};
}

/* By a device, or the loader. */
static void step_write_entry(struct fuzz_input *input)
{
    uint64_t gpa = draw_word(input), entry = draw_entry(input);
    *fake_word(&fake, gpa) = entry;
    memcpy(model->ram + gpa, &entry, 8);
    engine_memory_written(&fake.engine, gpa, 8);
    safepoint_serve(cpu);
    flush_after_store(gpa, 8);
}

static void step_walk(struct fuzz_input *input)
{
    uint64_t va = draw_va(input);
    if (!walk_is_canonical(cpu, va))
        return;
    uint8_t kind = input_u8(input) % 3;
    struct walk_request request = {.va = va,
                                   .access = kind == 0   ? WALK_READ
                                             : kind == 1 ? WALK_WRITE
                                                         : WALK_EXECUTE,
                                   .user = cpu->cpl == 3,
                                   .smap_passes = cpu->rflags & RFLAGS_AC};
    struct outcome expected = model_translate(va, rights_of(kind == 1, kind == 2));
    struct walk_result result = walk(cpu, &request);
    REQUIRE(result.fault == expected.faults);
    REQUIRE(result.fault ? result.error == expected.error : result.gpa == expected.gpa);
    /* A probe has the same result and changes nothing. */
    request.probe = true;
    compare();
    struct walk_result again = walk(cpu, &request);
    REQUIRE(again.fault == result.fault && again.gpa == result.gpa && again.error == result.error);
    compare();
}

static void step_load(struct fuzz_input *input)
{
    uint64_t va = draw_va(input), gpas[8], value = 0;
    unsigned size = 1u << input_u8(input) % 4;
    struct outcome expected = model_access(va, size, rights_of(false, false), gpas);
    volatile uint64_t loaded = 0;
    int why = FAKE_TRY(cpu, loaded = fake_load(cpu, va, size));
    compare_outcome(why, &expected);
    if (!expected.faults)
        value = model_load(gpas, size);
    REQUIRE(loaded == value);
}

static void step_store(struct fuzz_input *input)
{
    uint64_t va = draw_va(input), gpas[8];
    unsigned size = 1u << input_u8(input) % 4;
    uint64_t value = input_u8(input) & 1 ? draw_entry(input) : input_u64(input);
    struct outcome expected = model_access(va, size, rights_of(true, false), gpas);
    int why = FAKE_TRY(cpu, fake_store(cpu, va, size, value));
    compare_outcome(why, &expected);
    if (expected.faults)
        return;
    model_store(gpas, size, value);
    flush_after_store(gpas[0], 1);
    flush_after_store(gpas[size - 1], 1);
}

static void step_exchange(struct fuzz_input *input)
{
    uint64_t va = draw_va(input), gpas[8];
    unsigned size = 1u << input_u8(input) % 4;
    uint8_t kind = input_u8(input);
    uint64_t value = input_u64(input), mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;
    struct outcome expected = model_access(va, size, rights_of(true, false), gpas);
    uint64_t held = expected.faults ? 0 : model_load(gpas, size);
    uint64_t compared = kind & 1 ? held : input_u64(input);
    volatile uint64_t found = 0;
    int why = FAKE_TRY(
        cpu, found = kind & 2 ? access_exchange(cpu, NULL, va, size, value)
                              : access_compare_exchange(cpu, NULL, va, size, compared, value));
    compare_outcome(why, &expected);
    if (expected.faults)
        return;
    REQUIRE(found == held);
    if (kind & 2 || held == (compared & mask))
        model_store(gpas, size, value);
    flush_after_store(gpas[0], 1);
    flush_after_store(gpas[size - 1], 1);
}

static void step_copy(struct fuzz_input *input)
{
    uint64_t va = draw_va(input);
    unsigned length = input_u16(input) % 6000;
    uint8_t *bytes = calloc(1, length + 1);
    struct outcome expected = {.faults = false};
    bool is_plain = true;
    for (unsigned i = 0; i < length && !expected.faults; i += 4096 - (va + i) % 4096) {
        expected = model_translate(va + i, rights_of(false, false));
        /* What is loaded from devices depends on how an access of 8 bytes is split. */
        is_plain &= in_ram(expected.gpa);
        unsigned size = 4096 - (va + i) % 4096;
        if (!expected.faults && in_ram(expected.gpa))
            memcpy(bytes + i, model->ram + expected.gpa, size < length - i ? size : length - i);
    }
    uint8_t *copied = calloc(1, length + 1);
    int why = FAKE_TRY(cpu, access_copy_in(cpu, NULL, va, copied, length));
    compare_outcome(why, &expected);
    REQUIRE(expected.faults || !is_plain || memcmp(bytes, copied, length) == 0);
    free(bytes);
    free(copied);
}

static void step_control(struct fuzz_input *input)
{
    uint8_t bits = input_u8(input);
    cpu->sregs.cr0 = CR0_PG | CR0_PE | (bits & 1 ? CR0_WP : 0);
    cpu->sregs.cr4 =
        CR4_PAE | (bits & 2 ? CR4_SMEP : 0) | (bits & 4 ? CR4_SMAP : 0) | (bits & 8 ? CR4_PGE : 0);
    cpu->sregs.efer = EFER_LME | EFER_LMA | (bits & 16 ? EFER_NXE : 0);
    tlb_flush_all(cpu);
    memset(model->was_table, 0, sizeof(model->was_table));
    model->global = false;
    cpu->rflags = 2 | (bits & 32 ? RFLAGS_AC : 0);
    cpu_set_cpl(cpu, bits & 64 ? 3 : 0);
}

static void step_root(struct fuzz_input *input)
{
    uint8_t place = input_u8(input);
    cpu->sregs.cr3 = (uint64_t)(place % (FRAMES + 1)) << 12 | (place & 0x80 ? 0x18 : 0);
    /* Global pages survive it, which the model does not know. */
    if (model->global)
        tlb_flush_all(cpu);
    else
        tlb_flush_nonglobal(cpu);
    memset(model->was_table, 0, sizeof(model->was_table));
    model->global = false;
}

/* STAC, CLAC, and changes of the CPL keep the TLBs. */
static void step_mode(struct fuzz_input *input)
{
    uint8_t bits = input_u8(input);
    cpu->rflags = 2 | (bits & 1 ? RFLAGS_AC : 0);
    cpu_set_cpl(cpu, bits & 2 ? 3 : 0);
}

static void step_flush_page(struct fuzz_input *input)
{
    tlb_flush_page(cpu, draw_va(input));
}

/* Tables are tracked from then on. */
static void step_native(struct fuzz_input *input)
{
    uint64_t zaps[16];
    (void)input;
    cpu_attended(cpu, ATTENTION_ZAPS | ATTENTION_REQUESTS);
    if (!tables_enter_native(cpu))
        return;
    model->was_root[(cpu->sregs.cr3 & ENTRY_ADDRESS) / PAGE_SIZE] = true;
    while (tables_take_zaps(&fake.engine, zaps, 16))
        tables_zaps_done(&fake.engine);
    tables_exit_native(cpu);
}

/* The frame contains code from then on. */
static void step_code(struct fuzz_input *input)
{
    uint64_t va = draw_va(input);
    struct outcome expected = model_translate(va, rights_of(false, true));
    (void)FAKE_TRY(cpu, code_lookup(cpu, va));
    if (cpu->exception.address != va)
        memcpy(model->ram, fake_ram(&fake, 0), FAKE_MEMORY); /* the next page was read, too */
    (void)expected;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct fuzz_input *) = {
        step_write_entry, step_write_entry, step_write_entry, step_walk,  step_load,
        step_load,        step_store,       step_store,       step_store, step_exchange,
        step_copy,        step_control,     step_root,        step_mode,  step_flush_page,
        step_native,      step_code,
    };
    struct fuzz_input input = {data, size};
    REQUIRE(fake_init(&fake, 1));
    cpu = fake.cpus;
    model = calloc(1, sizeof(*model));
    memset(fake_device, 0, sizeof(fake_device));
    /* Initial mappings: the lowest pages, identity-mapped and in the upper half, and pages that
     * share their TLB entries. */
    for (unsigned i = 0; i < 4; i++) {
        fake_map(&fake, FAKE_ROOT, i * PAGE_SIZE, i * PAGE_SIZE | P | W | U);
        fake_map(&fake, FAKE_ROOT, (512 + i) * PAGE_SIZE, (i + 12) * PAGE_SIZE | P | W | U);
    }
    *fake_word(&fake, FAKE_ROOT + 8 * 256) = *fake_word(&fake, FAKE_ROOT);
    memcpy(fake_ram(&fake, 0xa000), fake_ram(&fake, FAKE_ROOT), PAGE_SIZE);
    memcpy(model->ram, fake_ram(&fake, 0), FAKE_MEMORY);
    for (unsigned i = 0; i < STEPS_MAX && input.size > 0; i++) {
        steps[input_u8(&input) % (sizeof(steps) / sizeof(steps[0]))](&input);
        compare();
    }
    free(model);
    fake_free(&fake);
    return 0;
}
