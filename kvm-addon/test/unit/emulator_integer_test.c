/* The oracle is the CPU: each instruction is executed here and natively, on random registers. */
#include <stdlib.h>
#include <sys/mman.h>

#include "../../src/emulator/decode.h"
#include "../check.h"
#include "../emulated_cpu.h"
#include "emulator_fake.h"

/*
 * native_enter .. native_leave load all registers but RSP from a struct kvm_regs (RDI) and store
 * them back; the instruction under test is put between the two halves.
 */
__asm__(".pushsection .rodata\n"
        "native_enter:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi\n"
        "push 0x88(%rdi); popfq\n"
        "mov 0x00(%rdi), %rax; mov 0x08(%rdi), %rbx; mov 0x10(%rdi), %rcx\n"
        "mov 0x18(%rdi), %rdx; mov 0x20(%rdi), %rsi; mov 0x38(%rdi), %rbp\n"
        "mov 0x40(%rdi), %r8;  mov 0x48(%rdi), %r9;  mov 0x50(%rdi), %r10\n"
        "mov 0x58(%rdi), %r11; mov 0x60(%rdi), %r12; mov 0x68(%rdi), %r13\n"
        "mov 0x70(%rdi), %r14; mov 0x78(%rdi), %r15; mov 0x28(%rdi), %rdi\n"
        "native_leave:\n"
        "push %rdi; mov 8(%rsp), %rdi; pop 0x28(%rdi)\n"
        "mov %rax, 0x00(%rdi); mov %rbx, 0x08(%rdi); mov %rcx, 0x10(%rdi)\n"
        "mov %rdx, 0x18(%rdi); mov %rsi, 0x20(%rdi); mov %rbp, 0x38(%rdi)\n"
        "mov %r8, 0x40(%rdi);  mov %r9, 0x48(%rdi);  mov %r10, 0x50(%rdi)\n"
        "mov %r11, 0x58(%rdi); mov %r12, 0x60(%rdi); mov %r13, 0x68(%rdi)\n"
        "mov %r14, 0x70(%rdi); mov %r15, 0x78(%rdi)\n"
        "pushfq; pop 0x88(%rdi)\n"
        "pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
        "native_end:\n"
        ".popsection\n");
extern const uint8_t native_enter[], native_leave[], native_end[];

static uint8_t *native_code;
static bool emulated;

static void execute_natively(const uint8_t *insn, size_t length, struct kvm_regs *regs)
{
    size_t enter = (size_t)(native_leave - native_enter);
    memcpy(native_code, native_enter, enter);
    memcpy(native_code + enter, insn, length);
    memcpy(native_code + enter + length, native_leave, (size_t)(native_end - native_leave));
    void (*call)(struct kvm_regs *);
    memcpy(&call, &native_code, sizeof call);
    call(regs);
}

static uint64_t random64(void)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 5; i++)
        value = value << 15 ^ (uint64_t)rand();
    /* Half of the values at an edge: few bits, all bits, small, sign-extended. */
    switch (rand() % 8) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return value & 0xff;
    case 3:
        return 1ull << (value & 63);
    default:
        return value;
    }
}

static void fill_registers(struct kvm_regs *regs)
{
    __u64 *values = &regs->rax;
    for (unsigned i = 0; i < 16; i++)
        values[i] = random64();
    /* Status flags only. */
    regs->rflags = 2 | (random64() & 0x8d5);
}

struct subject {
    enum emu_insn_kind kind;
    const char *feature;
    uint64_t undefined_flags;
    uint8_t prefixes[2]; /* legacy prefixes; 0: none */
    uint8_t vex[2];      /* map and pp; 0, 0: no VEX */
    uint8_t opcode[3];   /* without 0f for VEX */
    uint8_t opcode_length;
    int group; /* ModRM.reg, or -1 */
    bool has_immediate;
};

#define AF_PF (EMU_RFLAGS_AF | EMU_RFLAGS_PF)

static const struct subject subjects[] = {
    {EMU_INSN_POPCNT, "popcnt", 0, {0xf3}, {0}, {0x0f, 0xb8}, 2, -1, false},
    {EMU_INSN_POPCNT, "popcnt", 0, {0x66, 0xf3}, {0}, {0x0f, 0xb8}, 2, -1, false},
    {EMU_INSN_CRC32_BYTE, "sse4.2", 0, {0xf2}, {0}, {0x0f, 0x38, 0xf0}, 3, -1, false},
    {EMU_INSN_CRC32, "sse4.2", 0, {0xf2}, {0}, {0x0f, 0x38, 0xf1}, 3, -1, false},
    {EMU_INSN_CRC32, "sse4.2", 0, {0x66, 0xf2}, {0}, {0x0f, 0x38, 0xf1}, 3, -1, false},
    {EMU_INSN_ADCX, "adx", 0, {0x66}, {0}, {0x0f, 0x38, 0xf6}, 3, -1, false},
    {EMU_INSN_ADOX, "adx", 0, {0xf3}, {0}, {0x0f, 0x38, 0xf6}, 3, -1, false},
    {EMU_INSN_ANDN, "bmi", AF_PF, {0}, {2, 0}, {0xf2}, 1, -1, false},
    {EMU_INSN_BEXTR, "bmi", AF_PF | EMU_RFLAGS_SF, {0}, {2, 0}, {0xf7}, 1, -1, false},
    {EMU_INSN_BLSR, "bmi", AF_PF, {0}, {2, 0}, {0xf3}, 1, 1, false},
    {EMU_INSN_BLSMSK, "bmi", AF_PF, {0}, {2, 0}, {0xf3}, 1, 2, false},
    {EMU_INSN_BLSI, "bmi", AF_PF, {0}, {2, 0}, {0xf3}, 1, 3, false},
    {EMU_INSN_BZHI, "bmi2", AF_PF, {0}, {2, 0}, {0xf5}, 1, -1, false},
    {EMU_INSN_MULX, "bmi2", 0, {0}, {2, 3}, {0xf6}, 1, -1, false},
    {EMU_INSN_PDEP, "bmi2", 0, {0}, {2, 3}, {0xf5}, 1, -1, false},
    {EMU_INSN_PEXT, "bmi2", 0, {0}, {2, 2}, {0xf5}, 1, -1, false},
    {EMU_INSN_RORX, "bmi2", 0, {0}, {3, 3}, {0xf0}, 1, -1, true},
    {EMU_INSN_SHLX, "bmi2", 0, {0}, {2, 1}, {0xf7}, 1, -1, false},
    {EMU_INSN_SARX, "bmi2", 0, {0}, {2, 2}, {0xf7}, 1, -1, false},
    {EMU_INSN_SHRX, "bmi2", 0, {0}, {2, 3}, {0xf7}, 1, -1, false},
};

static bool has_feature(const char *name)
{
    __builtin_cpu_init();
    if (strcmp(name, "popcnt") == 0)
        return __builtin_cpu_supports("popcnt");
    if (strcmp(name, "sse4.2") == 0)
        return __builtin_cpu_supports("sse4.2");
    if (strcmp(name, "bmi") == 0)
        return __builtin_cpu_supports("bmi");
    if (strcmp(name, "bmi2") == 0)
        return __builtin_cpu_supports("bmi2");
    uint32_t eax = 7, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return ebx >> 19 & 1; /* ADX */
}

/* One encoding of the subject with random registers and width. */
static size_t encode(const struct subject *subject, uint8_t bytes[EMU_INSN_LENGTH_MAX])
{
    size_t length = 0;
    unsigned extensions = (unsigned)rand() & 15; /* W R X B */
    uint8_t modrm = (uint8_t)(0xc0 | (rand() & 63));

    if (subject->group >= 0)
        modrm = (uint8_t)((modrm & 0xc7) | subject->group << 3);
    for (unsigned i = 0; i < 2 && subject->prefixes[i]; i++)
        bytes[length++] = subject->prefixes[i];
    if (subject->vex[0]) {
        unsigned vvvv = subject->has_immediate ? 0 : (unsigned)rand() & 15;
        bytes[length++] = 0xc4;
        bytes[length++] = (uint8_t)((~extensions & 7) << 5 | subject->vex[0]);
        bytes[length++] = (uint8_t)((extensions & 8) << 4 | (~vvvv & 15) << 3 | subject->vex[1]);
    } else if (rand() % 4) {
        bytes[length++] = (uint8_t)(0x40 | extensions);
    }
    memcpy(bytes + length, subject->opcode, subject->opcode_length);
    length += subject->opcode_length;
    bytes[length++] = modrm;
    if (subject->has_immediate)
        bytes[length++] = (uint8_t)rand();
    return length;
}

/* RSP is the native half's own. */
static bool uses_rsp(const struct emu_insn *insn)
{
    bool high_byte = insn->kind == EMU_INSN_CRC32_BYTE && !insn->has_rex;
    return insn->reg == 4 || insn->vvvv == 4 || (insn->rm == 4 && !high_byte);
}

/* QEMU 7.2 gets flags or widths of these wrong. */
static bool is_wrong_in_qemu(enum emu_insn_kind kind)
{
    return kind == EMU_INSN_CRC32 || kind == EMU_INSN_ADCX || kind == EMU_INSN_ADOX ||
           kind == EMU_INSN_BLSI;
}

static void test_subject(struct emu_fake *fake, const struct subject *subject)
{
    /* Each round is new code, which is a thousand times slower on a translator than on a CPU. */
    unsigned rounds = emulated ? 1000 : 20000;
    unsigned wrong = 0, compared = 0;

    if (!has_feature(subject->feature)) {
        printf("skipped %s: this CPU has no %s\n", emu_insn_name(subject->kind), subject->feature);
        return;
    }
    if (emulated && is_wrong_in_qemu(subject->kind)) {
        printf("skipped %s: this CPU is QEMU's, which gets it wrong\n",
               emu_insn_name(subject->kind));
        return;
    }
    for (unsigned i = 0; i < rounds; i++) {
        uint8_t bytes[EMU_INSN_LENGTH_MAX];
        size_t length = encode(subject, bytes);
        fake_reset_cpu(fake);
        struct kvm_regs *regs = fake_regs(fake);
        fill_registers(regs);
        struct emu_insn insn = emu_decode(bytes, length, regs, 0, 0);
        if (insn.kind != subject->kind || insn.length != length) {
            wrong++;
            continue;
        }
        if (uses_rsp(&insn))
            continue;
        struct kvm_regs native = *regs;
        execute_natively(bytes, length, &native);
        native.rip += length;
        if (fake_refuse(fake, bytes, length) != EMU_HANDLED || fake_raised(fake) != -1)
            wrong++;
        regs->rflags &= ~subject->undefined_flags;
        native.rflags &= ~(subject->undefined_flags | EMU_RFLAGS_IF);
        if (memcmp(regs, &native, sizeof native) != 0) {
            if (wrong++ == 0)
                for (size_t j = 0; j < length; j++)
                    fprintf(stderr, "%02x%s", bytes[j], j + 1 < length ? " " : ": differs\n");
        }
        compared++;
    }
    check_record(wrong == 0 && compared > rounds / 2, emu_insn_name(subject->kind), __FILE__,
                 __LINE__);
}

int main(void)
{
    static struct emu_fake fake;

    native_code = mmap(NULL, FAKE_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(native_code != MAP_FAILED) || !CHECK(fake_init(&fake)))
        return check_finish();
    emulated = cpu_is_emulated();
    srand(1);
    for (unsigned i = 0; i < sizeof subjects / sizeof subjects[0]; i++)
        test_subject(&fake, &subjects[i]);
    fake_free(&fake);
    munmap(native_code, FAKE_PAGE);
    return check_finish();
}
