/* The interpreter: privilege levels, system instructions, and instructions left to KVM. */
#include <cpuid.h>

#include "../../src/pvm/code_arena.h"
#include "engine_code.h"

/* ---- flags and privilege ---- */

static void test_interrupt_shadow_of_sti(void)
{
    CODE(0, false, "\xfb\x90");
    CHECK(halts(2)); /* nobody waits: it continues */
    CODE(0, false, "\xfb\x90");
    cpu->interrupt_waits = true;
    CHECK(interpret(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->rip == KERNEL_CODE + 1 && cpu->interrupt_shadow && cpu->rflags & RFLAGS_IF);
    CHECK(interpret_once(cpu) == INTERPRETED_ATTENTION);
    CHECK(cpu->rip == KERNEL_CODE + 2 && !cpu->interrupt_shadow);
    /* A second STI has no shadow. */
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
    /* Unprivileged code gets #UD for these. */
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
            /* Without UMIP, the code continues to the HLT after it. */
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
    /* The map is at the end of the TSS. It allows ports 0x60 to 0x67 except 0x64. */
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
    /* The byte after the last one must also be in the TSS. */
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

/* The result of CPUID in the code. At CPL 3, the HLT after it faults. */
static bool answers(unsigned cpl, uint32_t leaf, uint32_t subleaf, const uint32_t expected[4])
{
    CODE(cpl, false, "\x0f\xa2\xf4");
    cpu->r[REG_RAX] = leaf;
    cpu->r[REG_RCX] = subleaf;
    bool ran = cpl == 3 ? raises(VECTOR_GP, 0, 2) : halts(2);
    return ran && cpu->r[REG_RAX] == expected[0] && cpu->r[REG_RBX] == expected[1] &&
           cpu->r[REG_RCX] == expected[2] && cpu->r[REG_RDX] == expected[3];
}

/* More leaves than are cached, each twice. */
static void test_cpuid_of_programs_is_the_processors(void)
{
    for (uint32_t leaf = 0; leaf < 8; leaf++)
        for (uint32_t subleaf = 0; subleaf < 2 * CPUID_ANSWERS / 8; subleaf++) {
            uint32_t own[4];
            /* These identify the core that executes them. */
            if (leaf == 1)
                continue;
            __cpuid_count(leaf, subleaf, own[0], own[1], own[2], own[3]);
            CHECK(answers(3, leaf, subleaf, own));
            CHECK(answers(3, leaf, subleaf, own));
        }
}

/* While other vCPUs run natively, their programs may change code unseen: it is compared again. */
static void test_cpuid_of_programs_serializes(void)
{
    static const char *const insns[] = {"\x0f\xa2\xf4", "\x66\x90\xf4"}; /* CPUID, NOP */
    for (unsigned i = 0; i < 2; i++) {
        set_code(3, false, insns[i], 3);
        guest.engine.native_running = 1;
        uint64_t compared = cpu->code->user_clock;
        CHECK(raises(VECTOR_GP, 0, 2));
        CHECK(cpu->code->user_clock - compared == (i == 0 ? 2 : 1));
        guest.engine.native_running = 0;
    }
}

static void test_cpuid_of_kernels_is_the_machines(void)
{
    static const uint32_t expected[4] = {1, 2, 3, 4}, none[4];
    guest.cpuid.entries[0] =
        (struct kvm_cpuid_entry2){.function = 0, .eax = 1, .ebx = 2, .ecx = 3, .edx = 4};
    guest.cpuid.count = 1;
    CHECK(answers(0, 0, 0, expected));
    CHECK(answers(0, 7, 0, none));
    guest.cpuid.count = 0;
}

/* ---- who executes what ---- */

static void test_left_to_kvm(void)
{
    CODE(0, false, "\x0f\x01\xd9"); /* VMMCALL */
    CHECK(interpret(cpu) == INTERPRETED_STEP && cpu->rip == KERNEL_CODE);
    /* 32-bit code whose stack segment does not cover all of memory. */
    CODE(3, true, "\x90");
    cpu->sregs.ss.limit = 0xfffff;
    CHECK(interpret(cpu) == INTERPRETED_NATIVE);
    /* A program with alignment checks. */
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
    /* Programs may use neither the kernel's descriptors nor those beyond the end of the table. */
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

static void test_all(bool translates)
{
    guest.translates = translates;
    test_interrupt_shadow_of_sti();
    test_popf_by_privilege();
    test_trap_flag_ends_the_run();
    test_privileged();
    test_umip();
    test_io_permission_map();
    test_time_stamp_disable();
    test_fs_and_gs_base();
    test_cpuid_of_programs_is_the_processors();
    test_cpuid_of_programs_serializes();
    test_cpuid_of_kernels_is_the_machines();
    test_left_to_kvm();
    test_software_interrupts();
    test_pause_gives_up_most_of_the_budget();
    test_lar_and_lsl();
    test_verr_and_verw();
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
