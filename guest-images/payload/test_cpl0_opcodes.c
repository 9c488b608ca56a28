/*
 * Every opcode of every map, with every prefix and a random tail, at CPL 0 and at CPL 3: whatever
 * comes of it, the machine goes on. seed= and rounds= choose other tails. A second CPU sends an NMI
 * to the first when it makes no progress. Left to `chaos` are ports, other control registers and
 * other tables.
 */
#include "cmdline.h"
#include "cpu.h"
#include "hostile.h"
#include "interrupts.h"
#include "lapic.h"
#include "random.h"
#include "smp.h"
#include "string.h"
#include "timing.h"

#define CODE_VA EXPERIMENT
#define DATA_VA (EXPERIMENT + 0x10000)
#define DATA_PAGES 4
#define INSN 2048 /* where it is in its page */
#define TAIL 10
_Static_assert(INSN == 50 + 0x7ce, "as the prologue jumps");

static const uint8_t prefixes[] = {0,    0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36,
                                   0x3e, 0x26, 0x64, 0x65, 0x40, 0x48, 0x4f};

static uint64_t random_state;
static uint8_t *code; /* the page at CODE_VA, by the identity map */
static volatile uint64_t count;
static uint64_t raised[32];

/* Registers that mostly point into the data, and a stack there. */
static void run_with_registers(uint64_t va)
{
    uint64_t data = DATA_VA + PAGE_SIZE + (random_next(&random_state) & 0xff8);
    __asm__ volatile("mov %[data], %%rbx\n mov %[data], %%rdx\n mov %[data], %%rbp\n"
                     "mov %[data], %%rdi\n lea 64(%[data]), %%rsi\n mov $17, %%ecx\n"
                     "mov %[data], %%r8\n mov %[data], %%r9\n mov %[data], %%r10\n"
                     "mov %[data], %%r11\n mov %[data], %%r12\n mov %[data], %%r13\n"
                     "mov %[data], %%r14\n mov %[data], %%r15\n mov %[data], %%rsp\n"
                     "jmp *%[va]"
                     :
                     : [data] "r"(data), [va] "a"(va)
                     : "memory");
    __builtin_unreachable();
}

/* ---- the CPU that watches ---- */

#define LAPIC_ICR_LOW 0x300
#define LAPIC_ICR_HIGH 0x310
#define ICR_NMI 0x4400
#define PATIENCE_CYCLES 20000000

static volatile uint32_t watching, watched_id;

static void watch(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    uint64_t since = rdtsc();
    watching = 1;
    for (uint64_t last = count;; cpu_relax()) {
        if (count != last || !attempt_under_way) {
            last = count;
            since = rdtsc();
        } else if (rdtsc() - since > PATIENCE_CYCLES) {
            lapic_write(LAPIC_ICR_HIGH, watched_id << 24);
            lapic_write(LAPIC_ICR_LOW, ICR_NMI);
            since = rdtsc();
        }
    }
}

static void watch_work(uint64_t cpu)
{
    if (cpu == 1)
        cpl0_call(watch, 0);
}

/* How an instruction must not be executed here, by the opcode and the byte after it. */
static bool is_excluded(unsigned map, uint8_t opcode, uint8_t modrm, bool cpl0)
{
    unsigned reg = modrm >> 3 & 7;

    if (map == 0) {
        switch (opcode) {
        case 0xe4 ... 0xe7:
        case 0xec ... 0xef:
        case 0x6c ... 0x6f:
            return cpl0; /* ports */
        case 0x8e:
            return cpl0 && reg == 2; /* SS: an interrupt shadow is harmless, another SS is not */
        default:
            return false;
        }
    }
    if (map == 1) {
        switch (opcode) {
        case 0x00:
            return cpl0 && (reg == 2 || reg == 3); /* LLDT, LTR */
        case 0x01:
            return cpl0 && (reg == 2 || reg == 3 || reg == 6); /* LGDT, LIDT, LMSW */
        case 0x22:
        case 0x23:
        case 0x30:
        case 0x34:
        case 0x35:
            return cpl0; /* MOV CR, MOV DR, WRMSR, SYSENTER, SYSEXIT */
        case 0x05:
        case 0x07:
            return true; /* SYSCALL and SYSRET go where the MSRs say */
        default:
            return false;
        }
    }
    return false;
}

/* Bytes of a tail after a short instruction are executed too: they must not access ports. */
static bool is_port_access(uint8_t byte)
{
    return (byte & 0xf4) == 0xe4 || (byte & 0xfc) == 0x6c;
}

/* Prefix, map, opcode and tail. False: it is not to be executed, whatever its tail. */
static bool write_insn(unsigned prefix, unsigned map, uint8_t opcode, bool cpl0)
{
    /* At CPL 3: registers that point into the data, from RDI. */
    static const uint8_t prologue[] = {
        0x48, 0x89, 0xfb, 0x48, 0x89, 0xfa, 0x48, 0x89, 0xfd, 0x48, 0x8d, 0x77, 0x40,
        0xb9, 0x11, 0,    0,    0,    0x49, 0x89, 0xf8, 0x49, 0x89, 0xf9, 0x49, 0x89,
        0xfa, 0x49, 0x89, 0xfb, 0x49, 0x89, 0xfc, 0x49, 0x89, 0xfd, 0x49, 0x89, 0xfe,
        0x49, 0x89, 0xff, 0x48, 0x89, 0xf8, 0xe9, 0xce, 0x07, 0,    0}; /* jmp to INSN */
    unsigned at = 0;

    /* Around it, whatever is jumped to is undefined. */
    for (unsigned i = 0; i < PAGE_SIZE; i += 2) {
        code[i] = 0x0f;
        code[i + 1] = 0x0b;
    }
    memcpy(code, prologue, sizeof prologue);
    uint8_t *insn = code + INSN;
    if (prefix)
        insn[at++] = (uint8_t)prefix;
    if (map)
        insn[at++] = 0x0f;
    if (map == 2)
        insn[at++] = 0x38;
    if (map == 3)
        insn[at++] = 0x3a;
    insn[at++] = opcode;
    uint8_t *tail = insn + at;
    for (unsigned tries = 0; tries < 16; tries++) {
        for (unsigned i = 0; i < TAIL; i++) {
            tail[i] = (uint8_t)random_next(&random_state);
            if (cpl0 && is_port_access(tail[i]))
                tail[i] = 0;
        }
        /* Displacements of jumps and operands stay near. */
        tail[3] = tail[4] = tail[5] = 0;
        if (tail[2] & 1)
            tail[2] = tail[1] = 0;
        if (!is_excluded(map, opcode, tail[0], cpl0))
            return true;
    }
    return false;
}

static void try_insn(unsigned prefix, unsigned map, uint8_t opcode, bool cpl0)
{
    struct attempt result;

    if (!write_insn(prefix, map, opcode, cpl0))
        return;
    if (cpl0)
        result = attempt(run_with_registers, CODE_VA + INSN);
    else
        result = attempt_cpl3(CODE_VA, DATA_VA + 2 * PAGE_SIZE, DATA_VA + PAGE_SIZE);
    count++;
    if (result.vector < 32)
        raised[result.vector]++;
}

static void map_all(void)
{
    uint64_t frame = page_take();

    page_map(CODE_VA, frame | PTE_ALL);
    code = (uint8_t *)frame;
    for (unsigned i = 0; i < DATA_PAGES; i++) {
        frame = page_take();
        memset((void *)frame, 0x0f, PAGE_SIZE);
        page_map(DATA_VA + i * PAGE_SIZE, frame | PTE_ALL);
    }
}

extern volatile uint64_t page_map_level_4[512];

static enum verdict try_all(bool cpl0)
{
    unsigned rounds = (unsigned)cmdline_number("rounds", 1);

    random_state = cmdline_number("seed", 1) * RANDOM_SEED;
    count = 0;
    map_all();
    if (!cpl0)
        page_map_level_4[0] &= ~PTE_USER; /* programs reach nothing but the experiment */
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned map = 0; map < 4; map++) {
            for (unsigned opcode = 0; opcode < 256; opcode++) {
                for (unsigned i = 0; i < sizeof prefixes; i++)
                    try_insn(prefixes[i], map, (uint8_t)opcode, cpl0);
            }
        }
    }
    page_map_level_4[0] |= PTE_USER;
    write_cr3(read_cr3());
    REQUIRE(raised[VECTOR_UD] > count / 4, "%lu of %lu ended in #UD", raised[VECTOR_UD], count);
    return test_passed("instructions=%lu ud=%lu gp=%lu pf=%lu nmi=%lu", count, raised[VECTOR_UD],
                       raised[VECTOR_GP], raised[VECTOR_PF], raised[VECTOR_NMI]);
}

static enum verdict all_at_cpl0(void)
{
    return try_all(true);
}
static enum verdict all_at_cpl3(void)
{
    return try_all(false);
}
static enum verdict with_watch(enum verdict (*body)(void))
{
    if (!watching) {
        watched_id = lapic_id();
        smp_start(watch_work);
        for (uint64_t start = rdtsc(); !watching && !timed_out(start);)
            cpu_relax();
    }
    REQUIRE(watching, "there is no second CPU");
    return run_at_cpl0(body);
}
static enum verdict test_opcodes(void)
{
    return with_watch(all_at_cpl0);
}
static enum verdict test_opcodes_of_programs(void)
{
    return with_watch(all_at_cpl3);
}

static const struct test tests[] = {
    {"opcodes-cpl0", test_opcodes},
    {"opcodes-cpl3", test_opcodes_of_programs},
};

const struct test_suite test_suite_cpl0_opcodes = TEST_SUITE(tests);
