/* The interpreter: what was wrong once, and what a comparison with the processor cannot show. */
#include "../../src/pvm/interpret.h"
#include "../../src/pvm/translator.h"
#include "../check.h"
#include "engine_guest.h"

#define KERNEL_CODE (GUEST_CODE + 0x800)
#define USER_CODE (GUEST_USER + KERNEL_CODE)

static struct guest guest;
static struct cpu *cpu = &guest.cpu;

/* Puts code where RIP is then, for this privilege and mode, and gives registers defaults. */
static void set_code(unsigned cpl, bool compat, const char *bytes, unsigned length)
{
    guest_reset(&guest, cpl, compat);
    memset(guest.ram + GUEST_CODE, 0xf4, GUEST_CODE_BYTES);
    memcpy(guest.ram + KERNEL_CODE, bytes, length);
    memset(cpu->r, 0, 16 * 8);
    cpu->r[REG_RSP] = cpl == 3 ? GUEST_USER + GUEST_STACK - 64 : GUEST_STACK - 64;
    cpu->rip = cpl == 3 ? USER_CODE : KERNEL_CODE;
    cpu->budget = 1000;
}
#define CODE(cpl, compat, bytes) set_code(cpl, compat, bytes, sizeof(bytes) - 1)

static uint64_t word_at(uint64_t gpa)
{
    uint64_t word;
    memcpy(&word, guest.ram + gpa, 8);
    return word;
}

static void put_word(uint64_t gpa, uint64_t word)
{
    memcpy(guest.ram + gpa, &word, 8);
}

/* Whether the code raises an exception at offset `at` of it. */
static bool raises(unsigned vector, uint32_t error, unsigned at)
{
    enum interpreted why = interpret(cpu);
    return why == INTERPRETED_EXCEPTION && cpu->exception.vector == vector &&
           cpu->exception.error == error && !cpu->exception.software &&
           (cpu->rip & PAGE_OFFSET) == 0x800 + at;
}

/* Whether the code runs to the HLT after it. */
static bool halts(unsigned length)
{
    return interpret(cpu) == INTERPRETED_HALT && cpu->rip == KERNEL_CODE + length + 1;
}

/* ---- the decoder ---- */

static void test_lengths(void)
{
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90");
    CHECK(halts(15));
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90");
    CHECK(raises(VECTOR_GP, 0, 0));
    /* Of the vector decoder's too. */
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xd9\xe8");
    CHECK(raises(VECTOR_GP, 0, 0));
}

static void test_rex_counts_before_the_opcode_only(void)
{
    /* REX.W, then 66: mov $0x1234, %ax */
    CODE(0, false, "\x48\x66\xb8\x34\x12");
    CHECK(halts(5) && cpu->r[REG_RAX] == 0x1234);
    /* mov $0x1234, %rax, the other way round. */
    CODE(0, false, "\x66\x48\xb8\x34\x12\x00\x00\x00\x00\x00\x00");
    CHECK(halts(11) && cpu->r[REG_RAX] == 0x1234);
}

static void test_lock_prefix(void)
{
    CODE(0, false, "\xf0\x01\x00"); /* lock add %eax, (%rax) */
    cpu->r[REG_RAX] = GUEST_DATA;
    CHECK(halts(3));
    CODE(0, false, "\xf0\x01\xc0"); /* of a register */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(0, false, "\xf0\x03\x00"); /* to a register */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(0, false, "\xf0\x83\x38\x00"); /* CMP */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(0, false, "\xf0\xf6\x00\x00"); /* TEST */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(0, false, "\xf0\x0f\xba\x20\x00"); /* BT */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(0, false, "\xf0\x90");
    CHECK(raises(VECTOR_UD, 0, 0));
}

static void test_undefined_in_64_bit_mode(void)
{
    static const char opcodes[] = "\x06\x07\x0e\x16\x17\x1e\x1f\x27\x2f\x37\x3f\x60\x61\x82\x9a"
                                  "\xce\xd4\xd5\xea";
    for (const char *opcode = opcodes; *opcode; opcode++) {
        set_code(3, false, opcode, 1);
        CHECK(raises(VECTOR_UD, 0, 0));
    }
}

/* ---- memory operands ---- */

static void test_modify_fault_names_the_second_page(void)
{
    /* addq $1, (%rax) over the end of what is mapped. */
    CODE(3, false, "\x48\x83\x00\x01");
    cpu->r[REG_RAX] = GUEST_USER + GUEST_BYTES - 4;
    CHECK(raises(VECTOR_PF, PF_USER | PF_WRITE, 0));
    CHECK(cpu->exception.address == GUEST_USER + GUEST_BYTES);
}

static void test_modify_faults_as_a_write(void)
{
    CODE(3, false, "\x48\x83\x00\x01");
    cpu->r[REG_RAX] = GUEST_READ_ONLY + GUEST_DATA;
    CHECK(raises(VECTOR_PF, PF_USER | PF_WRITE | PF_PRESENT, 0));
}

static void test_end_of_canonical_addresses(void)
{
    CODE(3, false, "\x48\x8b\x00"); /* mov (%rax), %rax */
    cpu->r[REG_RAX] = 0x7ffffffffffc;
    CHECK(raises(VECTOR_GP, 0, 0));
    CODE(3, false, "\x48\x8b\x45\x00"); /* mov (%rbp), %rax */
    cpu->r[REG_RBP] = 0x7ffffffffffc;
    CHECK(raises(VECTOR_SS, 0, 0));
    CODE(3, false, "\x50"); /* push %rax */
    cpu->r[REG_RSP] = 1ull << 63;
    CHECK(raises(VECTOR_SS, 0, 0));
    /* CLFLUSH reads nothing, but its address is checked. */
    CODE(3, false, "\x0f\xae\x7d\x00");
    cpu->r[REG_RBP] = 1ull << 63;
    CHECK(raises(VECTOR_SS, 0, 0));
    /* 32-bit code ends at 4 GiB. */
    CODE(3, true, "\x8b\x00");
    cpu->r[REG_RAX] = 0xfffffffe;
    CHECK(raises(VECTOR_GP, 0, 0));
}

static void test_branches_to_noncanonical_addresses_change_nothing(void)
{
    CODE(0, false, "\xff\xd0"); /* call *%rax */
    cpu->r[REG_RAX] = 1ull << 63;
    uint64_t rsp = cpu->r[REG_RSP];
    CHECK(raises(VECTOR_GP, 0, 0) && cpu->r[REG_RSP] == rsp);
    CODE(0, false, "\xc3");
    put_word(cpu->r[REG_RSP], 1ull << 63);
    CHECK(raises(VECTOR_GP, 0, 0) && cpu->r[REG_RSP] == rsp);
}

static void test_locked_operations_on_two_cache_lines(void)
{
    CODE(0, false,
         "\xf0\x48\x01\x18"       /* lock add %rbx, (%rax) */
         "\x48\x87\x08"           /* xchg %rcx, (%rax) */
         "\xf0\x48\x0f\xc1\x10"); /* lock xadd %rdx, (%rax) */
    cpu->r[REG_RAX] = GUEST_DATA + 60;
    cpu->r[REG_RBX] = 5;
    cpu->r[REG_RCX] = 100;
    cpu->r[REG_RDX] = 1;
    put_word(GUEST_DATA + 60, 7);
    CHECK(halts(12));
    CHECK(cpu->r[REG_RCX] == 12 && cpu->r[REG_RDX] == 100);
    CHECK(word_at(GUEST_DATA + 60) == 101);
}

static void test_compare_exchange_16(void)
{
    CODE(0, false, "\xf0\x48\x0f\xc7\x0e"); /* lock cmpxchg16b (%rsi) */
    cpu->r[REG_RSI] = GUEST_DATA + 8;
    CHECK(raises(VECTOR_GP, 0, 0));
    for (unsigned in_code = 0; in_code < 2; in_code++) {
        uint64_t at = in_code ? KERNEL_CODE + 0x100 : GUEST_DATA;
        CODE(0, false, "\xf0\x48\x0f\xc7\x0e");
        put_word(at, 1);
        put_word(at + 8, 2);
        cpu->r[REG_RSI] = at;
        cpu->r[REG_RAX] = 1;
        cpu->r[REG_RDX] = 2;
        cpu->r[REG_RBX] = 3;
        cpu->r[REG_RCX] = 4;
        enum interpreted why = interpret(cpu);
        if (in_code)
            CHECK(why == INTERPRETED_ONCE && interpret_once(cpu) == INTERPRETED_ATTENTION);
        CHECK(word_at(at) == 3 && word_at(at + 8) == 4);
        CHECK(cpu_rflags(cpu) & 0x40);
    }
}

/* ---- code that is written ---- */

static void test_store_to_the_code_that_runs(void)
{
    /* movb $0xb0, 0x7(%rip): the next instruction is mov $0x55, %dl, then of %al. */
    CODE(0, false, "\xc6\x05\x00\x00\x00\x00\xb0\xb2\x55");
    memcpy(guest.ram + KERNEL_CODE + 2, "\x00\x00\x00\x00", 4);
    CHECK(interpret(cpu) == INTERPRETED_ONCE && cpu->rip == KERNEL_CODE);
    CHECK(interpret_once(cpu) == INTERPRETED_ATTENTION && cpu->rip == KERNEL_CODE + 7);
    CHECK(halts(9));
    CHECK((cpu->r[REG_RAX] & 0xff) == 0x55 && (cpu->r[REG_RDX] & 0xff) == 0);
}

static void test_call_by_a_single_step_leaves_no_return_behind(void)
{
    /* call 1f; hlt; 1: ret */
    CODE(0, false, "\xe8\x01\x00\x00\x00\xf4\xc3");
    CHECK(interpret_once(cpu) == INTERPRETED_ATTENTION && cpu->rip == KERNEL_CODE + 6);
    CHECK(halts(5));
}

/* ---- strings ---- */

static void test_repeated_string_goes_on_where_it_was(void)
{
    CODE(0, false, "\xf3\xaa"); /* rep stosb */
    cpu->r[REG_RDI] = GUEST_DATA;
    cpu->r[REG_RCX] = 0x3000;
    cpu->r[REG_RAX] = 0x77;
    cpu_attract(cpu, ATTENTION_INTERRUPT);
    /* A page at a time while somebody wants the vCPU. */
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->rip == KERNEL_CODE && cpu->r[REG_RCX] == 0x2000);
    cpu->attention = 0;
    CHECK(halts(2));
    CHECK(cpu->r[REG_RCX] == 0 && cpu->r[REG_RDI] == GUEST_DATA + 0x3000);
    CHECK(guest.ram[GUEST_DATA + 0x2fff] == 0x77 && guest.ram[GUEST_DATA + 0x3000] == 0xf4);
}

static void test_overlapping_moves(void)
{
    CODE(0, false, "\xf3\xa4"); /* rep movsb, one byte up: the first byte spreads */
    cpu->r[REG_RSI] = GUEST_DATA;
    cpu->r[REG_RDI] = GUEST_DATA + 1;
    cpu->r[REG_RCX] = 100;
    guest.ram[GUEST_DATA] = 9;
    CHECK(halts(2));
    CHECK(guest.ram[GUEST_DATA + 100] == 9 && guest.ram[GUEST_DATA + 101] == 0xf4);
}

static void test_repeated_string_faults_after_what_it_did(void)
{
    CODE(3, false, "\xf3\xab"); /* rep stosl, to the end of what is mapped */
    cpu->r[REG_RDI] = GUEST_USER + GUEST_BYTES - 8;
    cpu->r[REG_RCX] = 5;
    CHECK(raises(VECTOR_PF, PF_USER | PF_WRITE, 0));
    CHECK(cpu->r[REG_RCX] == 3 && cpu->r[REG_RDI] == GUEST_USER + GUEST_BYTES);
}

/* ---- bounds of work ---- */

static void test_syscall_to_itself_uses_up_the_budget(void)
{
    CODE(0, false, "\x0f\x05");
    guest.msrs.lstar = KERNEL_CODE;
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION && cpu->budget < 0);
}

static void test_code_without_jumps_uses_up_the_budget(void)
{
    guest_reset(&guest, 0, false);
    /* The whole of memory is NOPs, mapped again and again. */
    memset(guest.ram + GUEST_CODE, 0x90, GUEST_BYTES - GUEST_CODE);
    cpu->rip = GUEST_CODE;
    cpu->budget = 5;
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION && cpu->budget < 0);
    CHECK(cpu->rip <= GUEST_CODE + 6 * PAGE_SIZE);
}

static void test_attention_ends_a_loop(void)
{
    CODE(0, false, "\xeb\xfe");
    cpu->budget = INT32_MAX;
    cpu_attract(cpu, ATTENTION_ORDER);
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION && cpu->budget > INT32_MAX - 10);
}

/* ---- flags and privilege ---- */

/* A loop of code that is translated and a CLD, whose handler goes on in it. */
static void test_attention_ends_a_loop_with_a_handler(void)
{
    CODE(0, false, "\xfc\x48\xff\xc0\x48\xff\xc3\xeb\xf7"); /* 1: cld; inc; inc; jmp 1b */
    cpu->r[REG_RAX] = cpu->r[REG_RBX] = 0;
    cpu->budget = 1000;
    while (cpu->budget >= 0)
        CHECK(interpret(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->r[REG_RAX] > 900 && cpu->r[REG_RAX] <= 1001);
    CHECK(cpu->r[REG_RBX] == cpu->r[REG_RAX]);
    cpu->budget = INT32_MAX;
    cpu_attract(cpu, ATTENTION_ORDER);
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->budget > INT32_MAX - 5);
}

/* Each round changes the code: what was translated is not used again, and takes memory. */
static void test_translations_without_end(void)
{
    enum { LOADS = 60, ROUNDS = 3000 };
    uint64_t flushes = cpu->counters->code_flushes;
    CODE(0, false, "\xf4");
    put_word(GUEST_DATA, 3);
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t *code = guest.ram + KERNEL_CODE;
        for (unsigned i = 0; i < LOADS; i++)
            memcpy(code + 2 * i, "\x03\x03", 2); /* add (%rbx), %eax */
        code[2 * LOADS] = 0xf4;
        code_invalidate_all(cpu);
        memset(cpu->heat, guest.translates ? 1 : 0, sizeof(cpu->heat));
        cpu->r[REG_RAX] = 0;
        cpu->r[REG_RBX] = GUEST_DATA;
        cpu->rip = KERNEL_CODE;
        cpu->budget = 100;
        if (!CHECK(interpret(cpu) == INTERPRETED_HALT && cpu->r[REG_RAX] == 3 * LOADS))
            return;
        CHECK(cpu->translator->used <= TRANSLATED_BYTES);
    }
    CHECK(cpu->counters->code_flushes >= flushes + (guest.translates ? 2 : 1));
}

static void test_interrupt_shadow_of_sti(void)
{
    CODE(0, false, "\xfb\x90");
    CHECK(halts(2)); /* nobody waits: it goes on */
    CODE(0, false, "\xfb\x90");
    cpu->interrupt_waits = true;
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->rip == KERNEL_CODE + 1 && cpu->interrupt_shadow && cpu->rflags & RFLAGS_IF);
    CHECK(interpret_once(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->rip == KERNEL_CODE + 2 && !cpu->interrupt_shadow);
    /* A second STI makes none. */
    CODE(0, false, "\xfb");
    cpu->interrupt_waits = true;
    cpu->rflags |= RFLAGS_IF;
    CHECK(interpret_once(cpu) == INTERPRETED_ATTENTION && !cpu->interrupt_shadow);
}

static void test_popf_by_privilege(void)
{
    CODE(3, false, "\x9d\x0f\x0b"); /* popf; ud2 */
    put_word((cpu->r[REG_RSP] - GUEST_USER), 0x247ed5 & ~(uint64_t)RFLAGS_AC);
    CHECK(raises(VECTOR_UD, 0, 1));
    CHECK(cpu->rflags & RFLAGS_DF && !(cpu->rflags & (RFLAGS_IF | RFLAGS_IOPL)));
    CODE(0, false, "\x9d");
    put_word(cpu->r[REG_RSP], RFLAGS_IF | RFLAGS_IOPL | RFLAGS_RF | RFLAGS_VM);
    CHECK(halts(1));
    CHECK((cpu->rflags & (RFLAGS_IF | RFLAGS_IOPL)) == (RFLAGS_IF | RFLAGS_IOPL));
    CHECK(!(cpu->rflags & (RFLAGS_RF | RFLAGS_VM)));
    /* With IOPL 3 a program may change IF, but not IOPL. */
    CODE(3, false, "\x9d\x0f\x0b");
    cpu->rflags |= RFLAGS_IOPL;
    put_word(cpu->r[REG_RSP] - GUEST_USER, RFLAGS_IF);
    CHECK(raises(VECTOR_UD, 0, 1));
    CHECK((cpu->rflags & (RFLAGS_IF | RFLAGS_IOPL)) == (RFLAGS_IF | RFLAGS_IOPL));
}

static void test_trap_flag_ends_the_run(void)
{
    CODE(0, false, "\x9d\x90");
    put_word(cpu->r[REG_RSP], RFLAGS_TF);
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION && cpu->rip == KERNEL_CODE + 1);
}

static void test_privileged(void)
{
    static const struct {
        const char *bytes;
        unsigned length;
    } insns[] = {
        {"\xf4", 1},         {"\x0f\x06", 2},     {"\x0f\x09", 2},     {"\x0f\x30", 2},
        {"\x0f\x32", 2},     {"\x0f\x20\xc0", 3}, {"\x0f\x22\xc0", 3}, {"\x0f\x21\xc0", 3},
        {"\x0f\x01\x38", 3}, {"\x0f\x01\x10", 3}, {"\x0f\x01\x18", 3}, {"\x0f\x00\xd0", 3},
        {"\x0f\x00\xd8", 3}, {"\x0f\x01\xf0", 3}, {"\x0f\x01\xf8", 3}, {"\x0f\x07", 2},
        {"\x0f\x35", 2},     {"\xfa", 1},         {"\xfb", 1},         {"\xec", 1},
        {"\xe6\x80", 2},     {"\x6e", 1},
    };
    for (unsigned i = 0; i < sizeof(insns) / sizeof(*insns); i++) {
        set_code(3, false, insns[i].bytes, insns[i].length);
        cpu->r[REG_RAX] = cpu->r[REG_RSI] = GUEST_USER + GUEST_DATA;
        CHECK(raises(VECTOR_GP, 0, 0));
    }
    /* Without privilege these do not exist. */
    CODE(3, false, "\x0f\x01\xca");
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(3, false, "\x0f\x01\xcb");
    CHECK(raises(VECTOR_UD, 0, 0));
}

static void test_umip(void)
{
    static const char *const insns[] = {"\x0f\x01\x00", "\x0f\x01\x08", "\x0f\x00\xc0",
                                        "\x0f\x00\xc8", "\x0f\x01\xe0"};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned umip = 0; umip < 2; umip++) {
            set_code(3, false, insns[i], 3);
            cpu->r[REG_RAX] = GUEST_USER + GUEST_DATA;
            cpu->sregs.cr4 |= umip ? CR4_UMIP : 0;
            /* Without UMIP it continues to the HLT after it. */
            CHECK(raises(VECTOR_GP, 0, umip ? 0 : 3));
        }
    CODE(0, false, "\x0f\x01\x00");
    cpu->sregs.cr4 |= CR4_UMIP;
    cpu->r[REG_RAX] = GUEST_DATA;
    CHECK(halts(3));
    CHECK((word_at(GUEST_DATA) & 0xffff) == cpu->sregs.gdt.limit);
    CHECK(word_at(GUEST_DATA + 2) == GUEST_GDT);
}

static void test_io_permission_map(void)
{
    /* The map begins at the TSS's end; ports 0x60 to 0x67 are allowed but for 0x64. */
    for (unsigned port = 0x60; port <= 0x68; port++) {
        CODE(3, false, "\xec\xf4");
        cpu->sregs.tr.limit = 0x68 + 0x10;
        memset(guest.ram + GUEST_TSS + 0x66, 0xff, 0x20);
        memcpy(guest.ram + GUEST_TSS + 0x66, "\x68\x00", 2);
        guest.ram[GUEST_TSS + 0x68 + 0xc] = 0x10;
        cpu->r[REG_RDX] = port;
        bool allowed = port < 0x68 && port != 0x64;
        CHECK(raises(VECTOR_GP, 0, allowed ? 1 : 0));
        CHECK(!allowed || (cpu->r[REG_RAX] & 0xff) == (port & 0xff));
    }
    /* The byte after the last one must be in the TSS as well. */
    CODE(3, false, "\xec");
    cpu->sregs.tr.limit = 0x68 + 0xc;
    memcpy(guest.ram + GUEST_TSS + 0x66, "\x68\x00", 2);
    memset(guest.ram + GUEST_TSS + 0x68, 0, 0x20);
    cpu->r[REG_RDX] = 0x60;
    CHECK(raises(VECTOR_GP, 0, 0));
}

static void test_time_stamp_disable(void)
{
    CODE(3, false, "\x0f\x31\xf4");
    CHECK(raises(VECTOR_GP, 0, 2));
    CODE(3, false, "\x0f\x31");
    cpu->sregs.cr4 |= CR4_TSD;
    CHECK(raises(VECTOR_GP, 0, 0));
}

static void test_fs_and_gs_base(void)
{
    CODE(3, false, "\xf3\x48\x0f\xae\xc0"); /* rdfsbase %rax */
    CHECK(raises(VECTOR_UD, 0, 0));
    CODE(3, false, "\xf3\x48\x0f\xae\xd0\xf3\x0f\xae\xc1\xf4"); /* wrfsbase %rax; rdfsbase %ecx */
    cpu->sregs.cr4 |= CR4_FSGSBASE;
    cpu->r[REG_RAX] = 0x123456789abc;
    CHECK(raises(VECTOR_GP, 0, 9));
    CHECK(cpu->segment_base[BASE_FS] == 0x123456789abc && cpu->r[REG_RCX] == 0x56789abc);
    CODE(3, false, "\xf3\x48\x0f\xae\xd0");
    cpu->sregs.cr4 |= CR4_FSGSBASE;
    cpu->r[REG_RAX] = 1ull << 63;
    CHECK(raises(VECTOR_GP, 0, 0));
}

/* ---- who executes what ---- */

static void test_left_to_kvm(void)
{
    CODE(0, false, "\x0f\x01\xd9"); /* VMMCALL */
    CHECK(interpret(cpu) == INTERPRETED_STEP && cpu->rip == KERNEL_CODE);
    CODE(3, false, "\x0f\xa2"); /* programs see the processor's CPUID */
    CHECK(interpret(cpu) == INTERPRETED_NATIVE && cpu->rip == USER_CODE);
    /* 32-bit code with another stack segment than all of memory. */
    CODE(3, true, "\x90");
    cpu->sregs.ss.limit = 0xfffff;
    CHECK(interpret(cpu) == INTERPRETED_NATIVE);
    /* A program that has alignment checked. */
    CODE(3, false, "\x90");
    cpu->sregs.cr0 |= CR0_AM;
    cpu->rflags |= RFLAGS_AC;
    CHECK(interpret(cpu) == INTERPRETED_NATIVE);
}

static void test_software_interrupts(void)
{
    CODE(3, false, "\xcd\x80");
    CHECK(interpret(cpu) == INTERPRETED_EXCEPTION && cpu->exception.software);
    CHECK(cpu->exception.vector == 0x80 && cpu->rip == USER_CODE + 2);
    CHECK(cpu->exception.length == 2);
    CODE(3, true, "\xcc");
    CHECK(interpret(cpu) == INTERPRETED_EXCEPTION && cpu->exception.software);
    CHECK(cpu->exception.vector == VECTOR_BP && cpu->rip == USER_CODE + 1);
}

static void test_pause_gives_up_most_of_the_budget(void)
{
    CODE(0, false, "\xf3\x90");
    cpu->spins = 0;
    CHECK(halts(2));
    CHECK(cpu->budget <= 20 && cpu->spins == 1);
}

/* ---- descriptors ---- */

static void test_lar_and_lsl(void)
{
    CODE(0, false, "\x0f\x02\xc1\x0f\x03\xd1"); /* lar %ecx, %eax; lsl %ecx, %edx */
    cpu->r[REG_RCX] = SELECTOR_USER_DATA;
    CHECK(halts(6));
    CHECK(cpu->r[REG_RAX] == 0xcff300 && cpu->r[REG_RDX] == UINT32_MAX);
    /* Programs may use neither the kernel's nor one beyond the end of the table. */
    for (unsigned i = 0; i < 2; i++) {
        CODE(3, false, "\x0f\x02\xc1\xf4");
        cpu->r[REG_RAX] = 0x1234;
        cpu->r[REG_RCX] = i ? 0xfff8 : SELECTOR_KERNEL;
        cpu_set_rflags(cpu, 0x42);
        CHECK(raises(VECTOR_GP, 0, 3));
        CHECK(cpu->r[REG_RAX] == 0x1234 && !(cpu_rflags(cpu) & 0x40));
    }
}

static void test_verr_and_verw(void)
{
    CODE(0, false, "\x0f\x00\xe9\x0f\x94\xc0\x0f\x00\xe1\x0f\x94\xc2"); /* verw, sete; verr, sete */
    cpu->r[REG_RCX] = SELECTOR_USER32;
    CHECK(halts(12));
    CHECK((cpu->r[REG_RAX] & 0xff) == 0 && (cpu->r[REG_RDX] & 0xff) == 1);
}

static void test_popa_skips_the_stack_pointer(void)
{
    CODE(3, true, "\x61\xf4");
    cpu->r[REG_RSP] = GUEST_USER + GUEST_DATA;
    for (unsigned i = 0; i < 8; i++)
        memcpy(guest.ram + GUEST_DATA + 4 * i, &(uint32_t){7 - i}, 4);
    CHECK(raises(VECTOR_GP, 0, 1));
    for (unsigned i = 0; i < 8; i++)
        CHECK(cpu->r[i] == (i == REG_RSP ? GUEST_USER + GUEST_DATA + 32 : i));
}

static void test_all(bool translates)
{
    guest.translates = translates;
    test_lengths();
    test_rex_counts_before_the_opcode_only();
    test_lock_prefix();
    test_undefined_in_64_bit_mode();
    test_modify_fault_names_the_second_page();
    test_modify_faults_as_a_write();
    test_end_of_canonical_addresses();
    test_branches_to_noncanonical_addresses_change_nothing();
    test_locked_operations_on_two_cache_lines();
    test_compare_exchange_16();
    test_store_to_the_code_that_runs();
    test_call_by_a_single_step_leaves_no_return_behind();
    test_repeated_string_goes_on_where_it_was();
    test_overlapping_moves();
    test_repeated_string_faults_after_what_it_did();
    test_syscall_to_itself_uses_up_the_budget();
    test_code_without_jumps_uses_up_the_budget();
    test_attention_ends_a_loop();
    test_attention_ends_a_loop_with_a_handler();
    test_translations_without_end();
    test_interrupt_shadow_of_sti();
    test_popf_by_privilege();
    test_trap_flag_ends_the_run();
    test_privileged();
    test_umip();
    test_io_permission_map();
    test_time_stamp_disable();
    test_fs_and_gs_base();
    test_left_to_kvm();
    test_software_interrupts();
    test_pause_gives_up_most_of_the_budget();
    test_lar_and_lsl();
    test_verr_and_verw();
    test_popa_skips_the_stack_pointer();
}

int main(void)
{
    if (!guest_init(&guest))
        return 1;
    test_all(false);
    test_all(true);
    CHECK(cpu->counters->translations > 0);
    guest_free(&guest);
    return check_finish();
}
