/* Segment loads, IRET, far returns and jumps, SYSCALL and related instructions. */
#include "engine_descriptors.h"

static struct machine machine;
static struct cpu *cpu;

static void set_frame(const uint64_t *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        *machine_word(&machine, cpu->r[REG_RSP] + 8 * i) = words[i];
}

static void set_iret_frame(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss)
{
    uint64_t frame[] = {rip, cs, rflags, rsp, ss};
    set_frame(frame, 5);
}

static void test_segment_loads(void)
{
    enum { ES, CS, SS, DS, FS, GS };

    machine_reset(&machine);
    CHECK(FAKE_TRY(cpu, segment_load(cpu, NULL, DS, SELECTOR_DATA3_BASED | 3)) == 0);
    CHECK(cpu->sregs.ds.base == 0x12345678 && cpu->sregs.ds.limit == UINT32_MAX);
    CHECK(*machine_word(&machine, GDT_VA + SELECTOR_DATA3_BASED) >> 40 & TYPE_ACCESSED);
    CHECK(FAKE_TRY(cpu, segment_load(cpu, NULL, GS, SELECTOR_DATA3_BASED)) == 0);
    CHECK(cpu->segment_base[BASE_GS] == 0x12345678 && cpu->segment_base[BASE_FS] == 0);
    CHECK(FAKE_TRY(cpu, segment_load(cpu, NULL, GS, 0)) == 0);
    CHECK(cpu->segment_base[BASE_GS] == 0 && cpu->sregs.gs.unusable);
    CHECK(FAKE_TRY(cpu, segment_load(cpu, NULL, FS, SELECTOR_IN_LDT)) == 0);
    CHECK(segment_selector(cpu, FS) == SELECTOR_IN_LDT && segment_selector(cpu, 7) == 0);

    static const struct {
        unsigned number;
        uint16_t selector;
        unsigned vector;
        uint32_t error;
    } refused[] = {
        {CS, SELECTOR_CODE0, VECTOR_UD, 0},
        {6, SELECTOR_DATA0, VECTOR_UD, 0},
        {DS, 0xfff8, VECTOR_GP, 0xfff8},
        {DS, 0x1c, VECTOR_GP, 0x1c}, /* beyond the LDT's limit */
        {DS, SELECTOR_TSS, VECTOR_GP, SELECTOR_TSS},
        {DS, SELECTOR_DATA0 | 3, VECTOR_GP, SELECTOR_DATA0},
        {DS, SELECTOR_EXECUTE_ONLY3, VECTOR_GP, SELECTOR_EXECUTE_ONLY3},
        {DS, SELECTOR_ABSENT_DATA3, VECTOR_NP, SELECTOR_ABSENT_DATA3},
        {SS, SELECTOR_DATA3, VECTOR_GP, SELECTOR_DATA3},
        {SS, SELECTOR_CODE0, VECTOR_GP, SELECTOR_CODE0},
        {SS, 3, VECTOR_GP, 0},
    };
    machine_reset(&machine);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK(RAISES(cpu, refused[i].vector, refused[i].error,
                     segment_load(cpu, NULL, refused[i].number, refused[i].selector)));
    machine_enter_user(&machine);
    CHECK(RAISES(cpu, VECTOR_GP, 0, segment_load(cpu, NULL, SS, 3)));
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_READ_ONLY3,
                 segment_load(cpu, NULL, SS, SELECTOR_READ_ONLY3 | 3)));
    CHECK(RAISES(cpu, VECTOR_SS, SELECTOR_ABSENT_DATA3,
                 segment_load(cpu, NULL, SS, SELECTOR_ABSENT_DATA3 | 3)));
    CHECK(FAKE_TRY(cpu, segment_load(cpu, NULL, ES, SELECTOR_CONFORMING)) == 0);
    /* Without an LDT there are no entries. */
    cpu->sregs.ldt = (struct kvm_segment){.unusable = 1};
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_IN_LDT, segment_load(cpu, NULL, FS, SELECTOR_IN_LDT)));
}

static void test_task_register_and_ldt(void)
{
    machine_reset(&machine);
    CHECK(FAKE_TRY(cpu, segment_load_tr(cpu, NULL, SELECTOR_TSS)) == 0);
    CHECK(cpu->sregs.tr.base == TSS_VA && cpu->sregs.tr.type == TYPE_TSS_BUSY);
    /* It is busy now. */
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_TSS, segment_load_tr(cpu, NULL, SELECTOR_TSS)));
    CHECK(RAISES(cpu, VECTOR_GP, 0, segment_load_tr(cpu, NULL, 0)));
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_IN_LDT, segment_load_tr(cpu, NULL, SELECTOR_IN_LDT)));
    CHECK(FAKE_TRY(cpu, segment_load_ldt(cpu, NULL, SELECTOR_LDT)) == 0);
    CHECK(cpu->sregs.ldt.base == LDT_VA && cpu->sregs.ldt.limit == 15);
    CHECK(FAKE_TRY(cpu, segment_load_ldt(cpu, NULL, 0)) == 0 && cpu->sregs.ldt.unusable);
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_DATA0, segment_load_ldt(cpu, NULL, SELECTOR_DATA0)));
    /* Half of its descriptor is beyond the limit. */
    cpu->sregs.gdt.limit = SELECTOR_LDT + 7;
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_LDT, segment_load_ldt(cpu, NULL, SELECTOR_LDT)));
}

static void test_iret(void)
{
    machine_reset(&machine);
    cpu->sregs.ds = descriptor_flat_data(SELECTOR_DATA0, 0);
    cpu->sregs.es = descriptor_flat_data(SELECTOR_DATA3 | 3, 3);
    cpu->nmi_blocked = true;
    set_iret_frame(0x401000, SELECTOR_CODE3 | 3, 0x3f7fd7, USER_STACK_VA, SELECTOR_DATA3 | 3);
    CHECK(FAKE_TRY(cpu, far_iret(cpu, NULL, 8)) == 0);
    CHECK(cpu->rip == 0x401000 && cpu->cpl == 3 && cpu->r[REG_RSP] == USER_STACK_VA);
    CHECK(cpu_rflags(cpu) == (0x3f7fd7 & ~RFLAGS_VM) && !cpu->nmi_blocked);
    /* IRET clears segments that CPL 3 may not use. */
    CHECK(cpu->sregs.ds.unusable && !cpu->sregs.es.unusable);
    /* At CPL 3, IOPL does not change, nor does IF if CPL > IOPL. */
    cpu_set_rflags(cpu, RFLAGS_IF);
    set_iret_frame(0x402000, SELECTOR_CODE3 | 3, RFLAGS_IOPL, USER_STACK_VA, SELECTOR_DATA3 | 3);
    CHECK(FAKE_TRY(cpu, far_iret(cpu, NULL, 8)) == 0 && cpu_rflags(cpu) == (2 | RFLAGS_IF));
    /* To 32-bit code, whose RIP has 32 bits. */
    machine_reset(&machine);
    set_iret_frame(0xf00401000, SELECTOR_CODE3_32 | 3, 2, 0x1234, SELECTOR_DATA3 | 3);
    CHECK(FAKE_TRY(cpu, far_iret(cpu, NULL, 8)) == 0 && cpu->compat && cpu->rip == 0x401000);
    /* Within CPL 0, the stack pointer is popped as well. */
    machine_reset(&machine);
    set_iret_frame(0x403000, SELECTOR_CODE0, RFLAGS_IF, 0x5000, SELECTOR_DATA0);
    CHECK(FAKE_TRY(cpu, far_iret(cpu, NULL, 8)) == 0 && cpu->r[REG_RSP] == 0x5000);
}

static void test_iret_refused(void)
{
    static const struct {
        uint64_t rip;
        uint16_t cs;
        uint16_t ss;
        unsigned vector;
        uint32_t error;
    } cases[] = {
        {0x401000, 0, SELECTOR_DATA3 | 3, VECTOR_GP, 0},
        {0x401000, 0xfff8 | 3, SELECTOR_DATA3 | 3, VECTOR_GP, 0xfff8},
        {0x401000, SELECTOR_DATA3 | 3, SELECTOR_DATA3 | 3, VECTOR_GP, SELECTOR_DATA3},
        {0x401000, SELECTOR_CODE3, SELECTOR_DATA3 | 3, VECTOR_GP, SELECTOR_CODE3},
        {0x401000, SELECTOR_BOTH_SIZES | 3, SELECTOR_DATA3 | 3, VECTOR_GP, SELECTOR_BOTH_SIZES},
        {0x401000, SELECTOR_ABSENT_CODE3 | 3, SELECTOR_DATA3 | 3, VECTOR_NP, SELECTOR_ABSENT_CODE3},
        {0x401000, SELECTOR_CODE3 | 3, 0, VECTOR_GP, 0},
        {0x401000, SELECTOR_CODE3 | 3, SELECTOR_DATA0 | 3, VECTOR_GP, SELECTOR_DATA0},
        {0x401000, SELECTOR_CODE3 | 3, SELECTOR_READ_ONLY3 | 3, VECTOR_GP, SELECTOR_READ_ONLY3},
        {0x401000, SELECTOR_CODE3 | 3, SELECTOR_ABSENT_DATA3 | 3, VECTOR_SS, SELECTOR_ABSENT_DATA3},
        {1ull << 47, SELECTOR_CODE3 | 3, SELECTOR_DATA3 | 3, VECTOR_GP, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        machine_reset(&machine);
        set_iret_frame(cases[i].rip, cases[i].cs, 2, USER_STACK_VA, cases[i].ss);
        CHECK(RAISES(cpu, cases[i].vector, cases[i].error, far_iret(cpu, NULL, 8)));
    }
    /* To an inner level, and as a task switch, which long mode does not have. */
    machine_reset(&machine);
    machine_enter_user(&machine);
    set_iret_frame(0x401000, SELECTOR_CODE0, 2, USER_STACK_VA, SELECTOR_DATA0);
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_CODE0, far_iret(cpu, NULL, 8)));
    machine_reset(&machine);
    cpu_set_rflags(cpu, RFLAGS_NT);
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_iret(cpu, NULL, 8)));
    /* A frame that is not mapped. */
    machine_reset(&machine);
    cpu->r[REG_RSP] = 0x700000;
    CHECK(RAISES(cpu, VECTOR_PF, 0, far_iret(cpu, NULL, 8)));
}

static void test_far_returns_and_jumps(void)
{
    machine_reset(&machine);
    uint64_t frame[] = {0x401000, SELECTOR_CODE3 | 3, 0, 0, USER_STACK_VA, SELECTOR_DATA3 | 3};
    set_frame(frame, 6);
    CHECK(FAKE_TRY(cpu, far_return(cpu, NULL, 8, 16)) == 0);
    CHECK(cpu->cpl == 3 && cpu->rip == 0x401000 && cpu->r[REG_RSP] == USER_STACK_VA + 16);
    machine_reset(&machine);
    uint64_t near_frame[] = {0x402000, SELECTOR_CODE0};
    set_frame(near_frame, 2);
    CHECK(FAKE_TRY(cpu, far_return(cpu, NULL, 8, 0)) == 0 && cpu->rip == 0x402000);
    CHECK(cpu->r[REG_RSP] == STACK_VA + 0x810);

    machine_reset(&machine);
    CHECK(FAKE_TRY(cpu, far_jump(cpu, NULL, 4, SELECTOR_CODE0_32, 0x1234, false, 0)) == 0);
    CHECK(cpu->compat && cpu->rip == 0x1234 && cpu->cpl == 0);
    machine_reset(&machine);
    CHECK(FAKE_TRY(cpu, far_jump(cpu, NULL, 8, SELECTOR_CODE0, 0x5678, true, 0x1007)) == 0);
    CHECK(cpu->r[REG_RSP] == STACK_VA + 0x7f0);
    CHECK(*machine_word(&machine, STACK_VA + 0x7f0) == 0x1007);
    CHECK(*machine_word(&machine, STACK_VA + 0x7f8) == SELECTOR_CODE0);
    machine_reset(&machine);
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_jump(cpu, NULL, 8, 0, 0, false, 0)));
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_TSS, far_jump(cpu, NULL, 8, SELECTOR_TSS, 0, false, 0)));
    CHECK(RAISES(cpu, VECTOR_GP, SELECTOR_CODE3,
                 far_jump(cpu, NULL, 8, SELECTOR_CODE3, 0, false, 0)));
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_jump(cpu, NULL, 8, SELECTOR_CODE0, 1ull << 60, false, 0)));
    cpu->r[REG_RSP] = 0x700000;
    CHECK(RAISES(cpu, VECTOR_PF, PF_WRITE, far_jump(cpu, NULL, 8, SELECTOR_CODE0, 0, true, 0)));
    /* Conforming code is entered with the CPL of the code that jumps to it. */
    machine_reset(&machine);
    machine_enter_user(&machine);
    CHECK(FAKE_TRY(cpu, far_jump(cpu, NULL, 8, SELECTOR_CONFORMING, 0x400000, false, 0)) == 0);
    CHECK(cpu->cpl == 3 && cpu->sregs.cs.selector == (SELECTOR_CONFORMING | 3));
}

static void test_syscall(void)
{
    machine_reset(&machine);
    machine.msrs = (struct cpu_msrs){.star = (uint64_t)SELECTOR_CODE0 << 32 | 0x1bull << 48,
                                     .lstar = 0xffffffff81000000,
                                     .cstar = 0xffffffff81001000,
                                     .sfmask = RFLAGS_IF | RFLAGS_TF | RFLAGS_DF};
    machine_enter_user(&machine);
    cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_DF | RFLAGS_CF | RFLAGS_RF);
    CHECK(FAKE_TRY(cpu, far_syscall(cpu, NULL, 0x401002)) == 0);
    CHECK(cpu->cpl == 0 && cpu->rip == 0xffffffff81000000 && cpu->r[REG_RCX] == 0x401002);
    CHECK(cpu->r[REG_R11] == (2 | RFLAGS_IF | RFLAGS_DF | RFLAGS_CF));
    CHECK(cpu_rflags(cpu) == (2 | RFLAGS_CF) && cpu->sregs.ss.selector == SELECTOR_DATA0);
    cpu->r[REG_R11] = ~0ull;
    CHECK(FAKE_TRY(cpu, far_sysret(cpu, NULL, true)) == 0);
    CHECK(cpu->cpl == 3 && cpu->rip == 0x401002 && !cpu->compat);
    CHECK(cpu->sregs.cs.selector == (0x28 | 3) && cpu->sregs.ss.selector == (0x20 | 3));
    CHECK(cpu_rflags(cpu) == 0x3c7fd7);
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysret(cpu, NULL, true)));
    /* 32-bit programs: only on AMD's processors, to CSTAR. */
    cpu->compat = true;
    CHECK(FAKE_TRY(cpu, far_syscall(cpu, NULL, 0x8048002)) == 0);
    CHECK(cpu->rip == 0xffffffff81001000 && !cpu->compat);
    CHECK(FAKE_TRY(cpu, far_sysret(cpu, NULL, false)) == 0);
    CHECK(cpu->compat && cpu->sregs.cs.selector == (0x18 | 3));
    machine.cpuid.is_amd = false;
    CHECK(RAISES(cpu, VECTOR_UD, 0, far_syscall(cpu, NULL, 0x8048002)));
    machine_reset(&machine);
    cpu->r[REG_RCX] = 1ull << 47;
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysret(cpu, NULL, true)));
    cpu->sregs.efer &= ~EFER_SCE;
    CHECK(RAISES(cpu, VECTOR_UD, 0, far_syscall(cpu, NULL, 0)));
    CHECK(RAISES(cpu, VECTOR_UD, 0, far_sysret(cpu, NULL, true)));
}

static void test_sysenter(void)
{
    machine_reset(&machine);
    CHECK(RAISES(cpu, VECTOR_UD, 0, far_sysenter(cpu, NULL)));
    machine.cpuid.is_amd = false;
    machine.msrs = (struct cpu_msrs){0};
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysenter(cpu, NULL)));
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysexit(cpu, NULL, true)));
    machine.msrs = (struct cpu_msrs){.sysenter_cs = SELECTOR_CODE0,
                                     .sysenter_esp = STACK_VA + 0x100,
                                     .sysenter_eip = 0xffffffff81002000};
    machine_enter_user(&machine);
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysexit(cpu, NULL, true)));
    CHECK(FAKE_TRY(cpu, far_sysenter(cpu, NULL)) == 0);
    CHECK(cpu->cpl == 0 && cpu->rip == 0xffffffff81002000 && cpu->r[REG_RSP] == STACK_VA + 0x100);
    CHECK(!(cpu_rflags(cpu) & RFLAGS_IF));
    cpu->r[REG_RDX] = 0x401000;
    cpu->r[REG_RCX] = 1ull << 47;
    CHECK(RAISES(cpu, VECTOR_GP, 0, far_sysexit(cpu, NULL, true)));
    cpu->r[REG_RCX] = USER_STACK_VA;
    CHECK(FAKE_TRY(cpu, far_sysexit(cpu, NULL, true)) == 0);
    CHECK(cpu->cpl == 3 && cpu->rip == 0x401000 && cpu->sregs.cs.selector == SELECTOR_CODE0 + 35);
}

int main(void)
{
    CHECK(machine_init(&machine));
    cpu = machine.cpu;
    test_segment_loads();
    test_task_register_and_ldt();
    test_iret();
    test_iret_refused();
    test_far_returns_and_jumps();
    test_syscall();
    test_sysenter();
    fake_free(&machine.fake);
    return check_finish();
}
