/*
 * Handlers of several instructions: random programs of such instructions have the same result when
 * run and when executed one instruction at a time, which fuses nothing. At the ends of the stack
 * they fault in the middle.
 */
#include "../../src/pvm/interpret.h"
#include "../check.h"
#include "../differential/random.h"
#include "engine_guest.h"

#define PROGRAMS 4000u
#define INSNS 24u
#define CODE_AT (GUEST_CODE + 0x800)

struct bytes {
    uint8_t length;
    uint8_t of[8];
};

/* RBP is the base of memory operands. Each instruction is repeated more often than by chance. */
static const struct bytes in_64_bit[] = {
    {1, {0x50}},                         /* push rax */
    {2, {0x41, 0x54}},                   /* push r12 */
    {1, {0x54}},                         /* push rsp */
    {1, {0x59}},                         /* pop rcx */
    {2, {0x41, 0x5d}},                   /* pop r13 */
    {2, {0x31, 0xd2}},                   /* xor edx, edx */
    {3, {0x45, 0x31, 0xc0}},             /* xor r8d, r8d */
    {2, {0x31, 0xd1}},                   /* xor ecx, edx */
    {3, {0x48, 0x89, 0xc3}},             /* mov rbx, rax */
    {3, {0x49, 0x89, 0xdc}},             /* mov r12, rbx */
    {4, {0x48, 0x8b, 0x45, 0x08}},       /* mov rax, [rbp+8] */
    {4, {0x48, 0x8b, 0x5d, 0xf8}},       /* mov rbx, [rbp-8] */
    {4, {0x48, 0x89, 0x45, 0x10}},       /* mov [rbp+16], rax */
    {4, {0x48, 0x89, 0x5d, 0x18}},       /* mov [rbp+24], rbx */
    {4, {0x48, 0x8d, 0x43, 0x21}},       /* lea rax, [rbx+33] */
    {4, {0x48, 0x83, 0xc0, 0x81}},       /* add rax, -127 */
    {3, {0x4c, 0x01, 0xe0}},             /* add rax, r12 */
    {3, {0x83, 0xeb, 0x01}},             /* sub ebx, 1 */
    {2, {0x21, 0xcb}},                   /* and ebx, ecx */
    {2, {0x24, 0x0f}},                   /* and al, 15 */
    {2, {0x09, 0xd9}},                   /* or ecx, ebx */
    {2, {0xff, 0xc3}},                   /* inc ebx */
    {3, {0x48, 0xff, 0xc9}},             /* dec rcx */
    {2, {0xfe, 0xc9}},                   /* dec cl */
    {1, {0xf9}},                         /* stc */
    {3, {0x48, 0x39, 0xd8}},             /* cmp rax, rbx */
    {5, {0x48, 0x83, 0x7d, 0x08, 0x01}}, /* cmp qword [rbp+8], 1 */
    {2, {0x85, 0xc9}},                   /* test ecx, ecx */
};
static const struct bytes in_32_bit[] = {
    {1, {0x50}},             /* push eax */
    {1, {0x59}},             /* pop ecx */
    {2, {0x31, 0xd2}},       /* xor edx, edx */
    {2, {0x89, 0xc3}},       /* mov ebx, eax */
    {3, {0x8b, 0x45, 0x08}}, /* mov eax, [ebp+8] */
    {3, {0x83, 0xeb, 0x01}}, /* sub ebx, 1 */
    {2, {0x01, 0xd8}},       /* add eax, ebx */
    {2, {0x24, 0x0f}},       /* and al, 15 */
    {1, {0x43}},             /* inc ebx */
    {1, {0x49}},             /* dec ecx */
    {2, {0xfe, 0xc9}},       /* dec cl */
    {1, {0xf9}},             /* stc */
    {2, {0x39, 0xd8}},       /* cmp eax, ebx */
    {2, {0x85, 0xc9}},       /* test ecx, ecx */
};

/* Initial RSP and RBP: in the middle of a page; at a page's end; and so that pushes or pops fault.
 */
static const uint64_t places[] = {
    GUEST_USER + GUEST_DATA + 0x400,  GUEST_USER + GUEST_DATA + 0x1018,
    GUEST_USER + GUEST_DATA + 0x101c, GUEST_USER + 0x20,
    GUEST_USER + GUEST_BYTES - 0x38,  GUEST_READ_ONLY + GUEST_DATA + 0x400,
};

struct outcome {
    uint64_t r[16];
    uint64_t rip, rflags, executed, address;
    uint16_t status;
    int why;
    uint8_t vector;
    uint8_t low[PAGE_SIZE], data[2 * PAGE_SIZE], high[PAGE_SIZE]; /* the addresses that `places`
                                                                   * refers to */
};

uint64_t random_state;
static struct guest guest;
static struct cpu *cpu = &guest.cpu;
static struct outcome run_whole, run_by_one;

#define LENGTH_OF(table) (sizeof(table) / sizeof(*(table)))

static unsigned put_jump(uint8_t *code)
{
    /* With or without an INC of EDX in between. */
    code[0] = (uint8_t)(0x70 + random_below(16));
    code[1] = 3;
    memcpy(code + 2, "\x83\xc2\x01", 3);
    return 5;
}

static unsigned put_insn(uint8_t *code, const struct bytes *bytes)
{
    memcpy(code, bytes->of, bytes->length);
    return bytes->length;
}

static void make_program(uint8_t *code, bool compat)
{
    const struct bytes *table = compat ? in_32_bit : in_64_bit;
    unsigned count = compat ? LENGTH_OF(in_32_bit) : LENGTH_OF(in_64_bit);
    unsigned last = 0;
    for (unsigned i = 0; i < INSNS; i++) {
        unsigned kind = random_below(3);
        if (kind == 0)
            last = random_below(count);
        code += kind == 1 ? put_jump(code) : put_insn(code, &table[last]);
    }
    *code = 0xf4;
}

static void set_up(const uint8_t *code, unsigned length, uint64_t seed, bool compat)
{
    guest_reset(&guest, 3, compat);
    memcpy(guest.ram + CODE_AT, code, length);
    random_seed(~seed);
    for (unsigned i = 0; i < 16; i++)
        cpu->r[i] = random_below(4) ? random_word() : random_below(3);
    if (compat)
        for (unsigned i = 0; i < 16; i++)
            cpu->r[i] = (uint32_t)cpu->r[i];
    uint64_t place = places[random_below(LENGTH_OF(places))];
    cpu->r[REG_RSP] = cpu->r[REG_RBP] = place;
    cpu_set_rflags(cpu, random_word() & RFLAGS_STATUS);
    cpu->rip = GUEST_USER + CODE_AT;
    cpu->exception = (struct cpu_exception){0};
    cpu->executed = 0;
    cpu->budget = 1000;
}

static void note(struct outcome *outcome, enum interpreted why)
{
    memcpy(outcome->r, cpu->r, sizeof(outcome->r));
    outcome->rip = cpu->rip;
    outcome->rflags = cpu->rflags;
    outcome->executed = cpu->executed;
    outcome->status = cpu->status;
    outcome->why = why;
    outcome->vector = cpu->exception.vector;
    outcome->address = cpu->exception.address;
    memcpy(outcome->low, guest.ram, sizeof(outcome->low));
    memcpy(outcome->data, guest.ram + GUEST_DATA, sizeof(outcome->data));
    memcpy(outcome->high, guest.ram + GUEST_BYTES - PAGE_SIZE, sizeof(outcome->high));
}

static bool comes_out_alike(uint64_t seed, bool compat)
{
    uint8_t code[8 * INSNS] = {0};
    random_seed(seed);
    make_program(code, compat);

    set_up(code, sizeof(code), seed, compat);
    note(&run_whole, interpret(cpu));

    enum interpreted why;
    set_up(code, sizeof(code), seed, compat);
    do {
        why = interpret_once(cpu);
    } while (why == INTERPRETED_ATTENTION);
    note(&run_by_one, why);
    return run_whole.why == INTERPRETED_EXCEPTION &&
           memcmp(&run_whole, &run_by_one, sizeof(run_whole)) == 0;
}

static void test_programs(bool compat)
{
    uint64_t seed = 1;
    while (seed <= PROGRAMS && comes_out_alike(seed, compat))
        seed++;
    if (!CHECK(seed > PROGRAMS))
        printf("program %llu, compat %d: at %llx and %llx, %llu and %llu instructions\n",
               (unsigned long long)seed, compat, (unsigned long long)run_whole.rip,
               (unsigned long long)run_by_one.rip, (unsigned long long)run_whole.executed,
               (unsigned long long)run_by_one.executed);
}

int main(void)
{
    REQUIRE(guest_init(&guest));
    test_programs(false);
    test_programs(true);
    guest.translates = true;
    test_programs(false);
    test_programs(true);
    guest_free(&guest);
    return check_finish();
}
