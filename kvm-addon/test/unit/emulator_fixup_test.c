#include "../../src/emulator/fixup.h"
#include "../check.h"
#include "emulator_fake.h"

#define P EMU_PTE_PRESENT
#define W EMU_PTE_WRITABLE
#define U EMU_PTE_USER
#define ADDRESS (FAKE_BASE + 0x1000)
#define RIP 0xffffffff81000000ull

static struct emu_fake fake;

/* The instruction is done: stepped over, nothing raised. */
static bool stepped(unsigned length)
{
    return fake_regs(&fake)->rip == RIP + length && fake_raised(&fake) == -1 &&
           fake.run.kvm_dirty_regs & KVM_SYNC_X86_REGS;
}

/* The instruction raised a fault: RIP still points at it. */
static bool faulted(int vector)
{
    return fake_regs(&fake)->rip == RIP && fake_raised(&fake) == vector;
}

static void begin(void)
{
    fake_reset_cpu(&fake);
    fake.cpu.error[0] = 0;
}

static void test_simple(void)
{
    begin();
    fake_regs(&fake)->rflags = 2 | EMU_RFLAGS_RF;
    CHECK(FAKE_REFUSE(&fake, "\x0f\x01\xcb") == EMU_HANDLED && stepped(3)); /* stac */
    CHECK(fake_regs(&fake)->rflags == (2 | EMU_RFLAGS_AC));
    begin();
    fake_regs(&fake)->rflags = 2 | EMU_RFLAGS_AC | EMU_RFLAGS_IF;
    CHECK(FAKE_REFUSE(&fake, "\x0f\x01\xca") == EMU_HANDLED && stepped(3)); /* clac */
    CHECK(fake_regs(&fake)->rflags == (2 | EMU_RFLAGS_IF));
    begin();
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\x1e\xc8") == EMU_HANDLED && stepped(5)); /* rdsspq */
    begin();
    CHECK(FAKE_REFUSE(&fake, "\x0f\xb9") == EMU_HANDLED && faulted(EMU_VECTOR_UD));
    begin();
    CHECK(FAKE_REFUSE(&fake, "\xf0\xf3\x0f\xb8\xc1") == EMU_HANDLED && faulted(EMU_VECTOR_UD));
}

static void test_int3(void)
{
    begin();
    CHECK(FAKE_REFUSE(&fake, "\xcc") == EMU_HANDLED);
    CHECK(fake_raised(&fake) == EMU_VECTOR_BP);
    CHECK(fake_regs(&fake)->rip == RIP + 1); /* a trap: after the instruction */
    CHECK(!fake_events(&fake)->exception.has_error_code && !fake_events(&fake)->exception.pending);
}

/* The bytes of another vCPU's events must not be handed back. */
static void test_interrupt_shadow(void)
{
    begin();
    fake.run.s.regs.events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    fake.run.s.regs.events.interrupt.shadow = 1;
    CHECK(FAKE_REFUSE(&fake, "\x0f\x01\xca") == EMU_HANDLED);
    CHECK(fake_events(&fake)->interrupt.shadow == 0);
    CHECK(fake_events(&fake)->flags == KVM_VCPUEVENT_VALID_SHADOW);
    CHECK(fake.run.kvm_dirty_regs & KVM_SYNC_X86_EVENTS);
    begin();
    CHECK(FAKE_REFUSE(&fake, "\x0f\x01\xca") == EMU_HANDLED);
    CHECK(!(fake.run.kvm_dirty_regs & KVM_SYNC_X86_EVENTS));
}

static void test_memory_operand(void)
{
    uint64_t value = 0xf0f0f0f0f0f0f0f0ull;
    begin();
    memcpy(fake_at(&fake, ADDRESS), &value, 8);
    fake_regs(&fake)->rcx = ADDRESS;
    fake_regs(&fake)->rax = UINT64_MAX;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\xb8\x01") == EMU_HANDLED && stepped(5));
    CHECK(fake_regs(&fake)->rax == 32);
    begin();
    fake_regs(&fake)->rcx = ADDRESS;
    fake_regs(&fake)->rax = UINT64_MAX;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x0f\xb8\x01") == EMU_HANDLED);
    CHECK(fake_regs(&fake)->rax == 16);
    begin();
    fake_regs(&fake)->rcx = ADDRESS;
    fake_regs(&fake)->rax = UINT64_MAX;
    CHECK(FAKE_REFUSE(&fake, "\x66\xf3\x0f\xb8\x01") == EMU_HANDLED);
    CHECK(fake_regs(&fake)->rax == 0xffffffffffff0008ull);

    /* Across two pages that are not neighbours. */
    fake_map(&fake, 2, 0x80000, P | W);
    begin();
    memset(fake_ram(&fake, 17 * FAKE_PAGE + 0xffc), 0xff, 4);
    memset(fake_ram(&fake, 0x80000), 0x01, 4);
    fake_regs(&fake)->rcx = ADDRESS + 0xffc;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\xb8\x01") == EMU_HANDLED);
    CHECK(fake_regs(&fake)->rax == 36);
    /* The second page is missing: CR2 is its first byte. */
    fake_map(&fake, 2, 0, 0);
    begin();
    fake_regs(&fake)->rcx = ADDRESS + 0xffc;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\xb8\x01") == EMU_HANDLED && faulted(EMU_VECTOR_PF));
    CHECK(fake_sregs(&fake)->cr2 == ADDRESS + 0x1000);
    CHECK(fake.run.kvm_dirty_regs & KVM_SYNC_X86_SREGS);
    CHECK(fake_events(&fake)->exception.has_error_code &&
          fake_events(&fake)->exception.error_code == 0);
    fake_map(&fake, 2, 18 * FAKE_PAGE, P | W);

    begin();
    fake_regs(&fake)->rcx = 0x1000000000000000ull;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\xb8\x01") == EMU_HANDLED && faulted(EMU_VECTOR_GP));
}

static void test_not_ram(void)
{
    fake_map(&fake, 40, 0xfee00000, P | W);
    begin();
    fake_regs(&fake)->rcx = FAKE_BASE + 40 * FAKE_PAGE;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x48\x0f\xb8\x01") == EMU_FAILED);
    CHECK(strstr(fake.cpu.error, "f3 48 0f b8 01") && strstr(fake.cpu.error, "0xfee00000"));
}

static void test_cmpxchg16b(void)
{
    uint64_t pair[2] = {1, 2};
    struct kvm_regs *regs = fake_regs(&fake);
    begin();
    memcpy(fake_at(&fake, ADDRESS), pair, 16);
    *regs = (struct kvm_regs){.rip = RIP, .rflags = 2, .rsi = ADDRESS, .rax = 1, .rdx = 2};
    regs->rbx = 3;
    regs->rcx = 4;
    CHECK(FAKE_REFUSE(&fake, "\xf0\x48\x0f\xc7\x0e") == EMU_HANDLED && stepped(5));
    memcpy(pair, fake_at(&fake, ADDRESS), 16);
    CHECK(pair[0] == 3 && pair[1] == 4 && regs->rflags == (2 | EMU_RFLAGS_ZF));
    /* Not equal: the memory comes into RDX:RAX. */
    regs->rip = RIP;
    CHECK(FAKE_REFUSE(&fake, "\x48\x0f\xc7\x0e") == EMU_HANDLED);
    CHECK(regs->rax == 3 && regs->rdx == 4 && regs->rflags == 2);
    begin();
    regs->rsi = ADDRESS + 8;
    CHECK(FAKE_REFUSE(&fake, "\xf0\x48\x0f\xc7\x0e") == EMU_HANDLED && faulted(EMU_VECTOR_GP));
    /* It needs write permission even where it would only load. */
    fake_map(&fake, 3, 19 * FAKE_PAGE, P);
    begin();
    regs->rsi = FAKE_BASE + 0x3000;
    regs->rax = 99;
    CHECK(FAKE_REFUSE(&fake, "\xf0\x48\x0f\xc7\x0e") == EMU_HANDLED && faulted(EMU_VECTOR_PF));
    CHECK(fake_events(&fake)->exception.error_code == (EMU_PF_PRESENT | EMU_PF_WRITE));
}

static void test_rdtscp(void)
{
    begin();
    fake_set_msr(&fake.cpu.state, 0x10, 0x123456789abcdef0ull);
    fake_set_msr(&fake.cpu.state, 0xc0000103, 0x1007);
    fake_regs(&fake)->rcx = UINT64_MAX;
    CHECK(FAKE_REFUSE(&fake, "\x0f\x01\xf9") == EMU_HANDLED && stepped(3));
    CHECK(fake_regs(&fake)->rax == 0x9abcdef0 && fake_regs(&fake)->rdx == 0x12345678);
    CHECK(fake_regs(&fake)->rcx == 0x1007);
}

static void set_descriptor(unsigned index, uint64_t descriptor)
{
    memcpy(fake_at(&fake, FAKE_BASE + 0x5000 + 8 * index), &descriptor, 8);
}

/* Runs lar/lsl eax, ecx or verr/verw cx; the answer is ZF. */
static bool answer(const char *bytes, uint16_t selector)
{
    begin();
    fake_sregs(&fake)->gdt = (struct kvm_dtable){.base = FAKE_BASE + 0x5000, .limit = 8 * 8 - 1};
    fake_regs(&fake)->rcx = selector;
    fake_regs(&fake)->rax = 0x1234;
    return CHECK(fake_refuse(&fake, bytes, 3) == EMU_HANDLED && stepped(3)) &&
           fake_regs(&fake)->rflags & EMU_RFLAGS_ZF;
}

#define LAR "\x0f\x02\xc1"
#define LSL "\x0f\x03\xc1"
#define VERR "\x0f\x00\xe1"
#define VERW "\x0f\x00\xe9"

static void test_selectors(void)
{
    set_descriptor(2, 0x00af9b000000ffffull); /* kernel code, 64-bit, limit in pages */
    set_descriptor(3, 0x00cf93000000ffffull); /* kernel data */
    set_descriptor(4, 0x004ff1000000abcdull); /* user data, read-only, limit in bytes */
    set_descriptor(5, 0x00008b0000000067ull); /* busy TSS */
    set_descriptor(6, 0x00af99000000ffffull); /* execute-only code */
    set_descriptor(7, 0x00008e0000000000ull); /* interrupt gate */
    CHECK(answer(LAR, 0x10) && fake_regs(&fake)->rax == 0x00a09b00);
    CHECK(answer(LSL, 0x10) && fake_regs(&fake)->rax == 0xffffffff);
    CHECK(answer(LSL, 0x20) && fake_regs(&fake)->rax == 0xfabcd);
    CHECK(answer(LSL, 0x28) && fake_regs(&fake)->rax == 0x67);
    CHECK(answer(LAR, 0x28) && !answer(LAR, 0x38));
    CHECK(!answer(LSL, 0x38) && fake_regs(&fake)->rax == 0x1234);
    CHECK(answer(VERR, 0x10) && answer(VERR, 0x18) && !answer(VERR, 0x28) && !answer(VERR, 0x30));
    CHECK(answer(VERW, 0x18) && !answer(VERW, 0x10) && !answer(VERW, 0x20));
    /* Null, beyond the table, RPL above DPL, an LDT that is not there. */
    CHECK(!answer(VERW, 0) && !answer(VERW, 3) && !answer(VERW, 0x40));
    CHECK(!answer(VERW, 0x1b) && answer(VERR, 0x23));
    CHECK(!answer(VERW, 0x1c));
}

/* KVM read no further than the opcode at the end of a page: the ModRM byte is on the next. */
static void test_refetch(void)
{
    begin();
    memcpy(fake_at(&fake, FAKE_BASE + 0x1ffd), "\xf3\x0f\xb8\xc1", 4);
    fake_regs(&fake)->rip = FAKE_BASE + 0x1ffd;
    fake_regs(&fake)->rcx = 7;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x0f\xb8") == EMU_HANDLED);
    CHECK(fake_regs(&fake)->rax == 3 && fake_regs(&fake)->rip == FAKE_BASE + 0x2001);
    CHECK(fake.cpu.counters[EMU_COUNTER_REFETCH] == 1);
    /* Nothing there to read. */
    fake_map(&fake, 2, 0, 0);
    fake_regs(&fake)->rip = FAKE_BASE + 0x1ffd;
    CHECK(FAKE_REFUSE(&fake, "\xf3\x0f\xb8") == EMU_FAILED);
    fake_map(&fake, 2, 18 * FAKE_PAGE, P | W);
}

static void test_failures(void)
{
    begin();
    CHECK(FAKE_REFUSE(&fake, "\x66\x0f\xef\xc0\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90") ==
          EMU_FAILED);
    CHECK(strstr(fake.cpu.error, "66 0f ef c0") && strstr(fake.cpu.error, "0xffffffff81000000"));
    CHECK(fake.run.kvm_dirty_regs == 0);
    begin();
    fake_sregs(&fake)->cs.l = 0;
    CHECK(FAKE_REFUSE(&fake, "\xcc") == EMU_FAILED);
    CHECK(strstr(fake.cpu.error, "64-bit"));
    /* No bytes at all, and more than there are. */
    begin();
    CHECK(fake_refuse(&fake, "", 0) == EMU_FAILED);
    fake.run.emulation_failure.insn_size = 255;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_FAILED);
    /* Other exits and other internal errors are not ours. */
    fake.run.internal.suberror = KVM_INTERNAL_ERROR_SIMUL_EX;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE);
    fake.run.exit_reason = KVM_EXIT_IO;
    CHECK(emu_cpu_handle_exit(&fake.cpu) == EMU_NOT_MINE);
}

static void test_counters(void)
{
    CHECK(fake.cpu.counters[EMU_INSN_INT3] == 1);
    CHECK(fake.cpu.counters[EMU_INSN_CMPXCHG16B] == 4);
    CHECK(fake.cpu.counters[EMU_COUNTER_FAULT] > 0);
    for (unsigned i = 0; i < EMU_COUNTERS; i++) {
        for (unsigned j = EMU_INSN_UNDEFINED; j < i; j++)
            CHECK(strcmp(emu_counter_name(i), emu_counter_name(j)) != 0 || i < EMU_INSN_UNDEFINED);
    }
    CHECK(strcmp(emu_counter_name(EMU_COUNTERS), "unknown") == 0);
}

int main(void)
{
    if (!CHECK(fake_init(&fake)))
        return check_finish();
    test_simple();
    test_int3();
    test_interrupt_shadow();
    test_memory_operand();
    test_not_ram();
    test_cmpxchg16b();
    test_rdtscp();
    test_selectors();
    test_refetch();
    test_failures();
    test_counters();
    fake_free(&fake);
    return check_finish();
}
