/* The interpreter: regressions, and behaviour that a comparison with the processor cannot show. */
#include "../../src/pvm/rest.h"
#include "../../src/pvm/translator.h"
#include "engine_code.h"

/* ---- the decoder ---- */

static void test_lengths(void)
{
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90");
    CHECK(halts(15));
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x90");
    CHECK(raises(VECTOR_GP, 0, 0));
    /* Also instructions of the vector decoder. */
    CODE(0, false, "\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xd9\xe8");
    CHECK(raises(VECTOR_GP, 0, 0));
}

static void test_rex_counts_before_the_opcode_only(void)
{
    /* REX.W, then 66: mov $0x1234, %ax */
    CODE(0, false, "\x48\x66\xb8\x34\x12");
    CHECK(halts(5) && cpu->r[REG_RAX] == 0x1234);
    /* mov $0x1234, %rax: the prefixes in the other order */
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
    /* addq $1, (%rax) across the end of the mapped memory. */
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
    /* A page at a time while another thread waits for the vCPU. */
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
    /* All of memory is NOPs, mapped repeatedly. */
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

/* A loop of translated code and a CLD, whose handler continues in the translated code. */
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

/* Each round changes the code. Old translations are not used again, but take memory. */
static void test_translations_without_end(void)
{
    enum { LOADS = 60, ROUNDS = 4000 };
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
        CHECK(cpu->translator->pools[0].used <= TRANSLATED_KERNEL_BYTES);
    }
    CHECK(cpu->counters->code_flushes >= flushes + (guest.translates ? 2 : 1));
}

/* As if the last window had begun a while ago, with `awake_ns` of work. */
static uint64_t rest_after(uint64_t awake_ns)
{
    struct cpu_rest *rest = &cpu->loop->rest;
    rest_end(cpu);
    rest->window_ns = rest->since_ns - 3000000000u;
    rest->awake_ns = awake_ns;
    rest_begin(cpu);
    return code_cache_resident(cpu) + translator_resident(cpu);
}

static void sum_up_to_100(void)
{
    CODE(0, false, "\x48\x01\xc8\x48\xff\xc9\x75\xf8"); /* 1: add %rcx, %rax; dec %rcx; jnz 1b */
    cpu->r[REG_RAX] = 0;
    cpu->r[REG_RCX] = 100;
    CHECK(halts(8) && cpu->r[REG_RAX] == 5050);
}

static void test_rest_gives_memory_back(void)
{
    cpu->loop->rest = (struct cpu_rest){0};
    sum_up_to_100();
    uint64_t flushes = cpu->counters->code_flushes, before = rest_after(1000000000u);
    CHECK(cpu->counters->code_flushes == flushes && before > 0);
    CHECK(rest_after(1000000u) < before && cpu->counters->code_flushes == flushes + 1);
    sum_up_to_100();
    /* What it needed since then stays. */
    CHECK(rest_after(1000000u) > 0 && cpu->counters->code_flushes == flushes + 1);
    sum_up_to_100();
    CHECK(rest_after(1000000000u) > 0 && cpu->counters->code_flushes == flushes + 1);
    rest_after(1000000u);
    CHECK(cpu->counters->code_flushes == flushes + 2);
    sum_up_to_100();
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
    test_popa_skips_the_stack_pointer();
    test_rest_gives_memory_back();
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
