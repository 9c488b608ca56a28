#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/emulator/decode.h"
#include "../check.h"

#define FS_BASE 0x7f0000000000ull
#define GS_BASE 0xffff888000000000ull

/* Every register has a value of its own, so that a wrong one shows. */
static const struct kvm_regs regs = {
    .rax = 0x1000,
    .rcx = 0x2000,
    .rdx = 0x3000,
    .rbx = 0x4000,
    .rsp = 0x5000,
    .rbp = 0x6000,
    .rsi = 0x7000,
    .rdi = 0x8000,
    .r8 = 0x90000,
    .r9 = 0xa0000,
    .r10 = 0xb0000,
    .r11 = 0xc0000,
    .r12 = 0xd0000,
    .r13 = 0xe0000,
    .r14 = 0xf0000,
    .r15 = 0xffffffff00000000ull,
    .rip = 0xffffffff81000000ull,
};

/* Decodes from a heap block of exactly this length, so that ASan sees each byte too many. */
static struct emu_insn decode(const void *bytes, size_t length)
{
    uint8_t *copy = malloc(length ? length : 1);
    memcpy(copy, bytes, length);
    struct emu_insn insn = emu_decode(copy, length, &regs, FS_BASE, GS_BASE);
    free(copy);
    return insn;
}

#define DECODE(bytes) decode(bytes, sizeof bytes - 1)

/* Kind and length; and each shorter prefix of the bytes is called truncated. */
static void check_kind(const char *bytes, size_t length, enum emu_insn_kind kind, int line)
{
    struct emu_insn insn = decode(bytes, length);
    if (!check_record(insn.kind == kind && insn.length == length, emu_insn_name(kind), __FILE__,
                      line))
        fprintf(stderr, "  is %s, length %u\n", emu_insn_name(insn.kind), insn.length);
    for (size_t i = 0; i < length; i++)
        check_record(decode(bytes, i).kind == EMU_INSN_TRUNCATED, "truncated", __FILE__, line);
}

#define KIND(bytes, kind) check_kind(bytes, sizeof bytes - 1, EMU_INSN_##kind, __LINE__)

static void test_kinds(void)
{
    KIND("\xcc", INT3);
    KIND("\x9b", FWAIT);
    KIND("\x0f\x01\xca", CLAC);
    KIND("\x0f\x01\xcb", STAC);
    KIND("\x0f\x01\xd0", XGETBV);
    KIND("\x0f\x01\xf9", RDTSCP);
    KIND("\x0f\xb9", UNDEFINED);
    KIND("\x0f\xff", UNDEFINED);
    KIND("\xf3\x48\x0f\x1e\xc8", NOP); /* rdsspq rax */
    KIND("\xf3\x0f\xb8\xc1", POPCNT);
    KIND("\xf0\x48\x0f\xc7\x0b", CMPXCHG16B);
    KIND("\x48\x0f\xc7\x0b", CMPXCHG16B);
    KIND("\x48\x0f\xae\x23", XSAVE);
    KIND("\x0f\xae\x2b", XRSTOR);
    KIND("\x48\x0f\xae\x33", XSAVEOPT);
    KIND("\x48\x0f\xc7\x23", XSAVEC);
    KIND("\x0f\xae\x13", LDMXCSR);
    KIND("\x0f\xae\x1b", STMXCSR);
    KIND("\x66\x0f\xae\x33", CLWB);
    KIND("\xf2\x0f\x38\xf0\xc1", CRC32_BYTE);
    KIND("\xf2\x48\x0f\x38\xf1\xc1", CRC32);
    KIND("\x66\x0f\x38\xf6\xc1", ADCX);
    KIND("\xf3\x0f\x38\xf6\xc1", ADOX);
    KIND("\xc4\xe2\x70\xf2\xc2", ANDN);
    KIND("\xc4\xe2\x68\xf7\xc1", BEXTR);
    KIND("\xc4\xe2\x78\xf3\xd9", BLSI);
    KIND("\xc4\xe2\x78\xf3\xd1", BLSMSK);
    KIND("\xc4\xe2\x78\xf3\xc9", BLSR);
    KIND("\xc4\xe2\x68\xf5\xc1", BZHI);
    KIND("\xc4\xe2\x73\xf6\xc2", MULX);
    KIND("\xc4\xe2\x73\xf5\xc2", PDEP);
    KIND("\xc4\xe2\x72\xf5\xc2", PEXT);
    KIND("\xc4\xe3\x7b\xf0\xc1\x03", RORX);
    KIND("\xc4\xe2\x6a\xf7\xc1", SARX);
    KIND("\xc4\xe2\x69\xf7\xc1", SHLX);
    KIND("\xc4\xe2\x6b\xf7\xc1", SHRX);
    KIND("\x0f\x00\x2b", VERW);
    KIND("\x0f\x00\xe0", VERR);
    KIND("\x48\x0f\x02\xc1", LAR);
    KIND("\x0f\x03\xc1", LSL);
}

static void test_unknown(void)
{
    CHECK(DECODE("\x90").kind == EMU_INSN_UNKNOWN);
    CHECK(DECODE("\x0f\xc7\x0b").kind == EMU_INSN_UNKNOWN);     /* cmpxchg8b */
    CHECK(DECODE("\x48\x0f\xc7\xc8").kind == EMU_INSN_UNKNOWN); /* 0f c7 /1 with a register */
    CHECK(DECODE("\x0f\xae\xe8").kind == EMU_INSN_UNKNOWN);     /* lfence */
    CHECK(DECODE("\x66\x0f\xae\xf0").kind == EMU_INSN_UNKNOWN); /* tpause eax */
    CHECK(DECODE("\xf3\x0f\xae\x23").kind == EMU_INSN_UNKNOWN); /* ptwrite [rbx] */
    CHECK(DECODE("\x48\x0f\xc7\x2b").kind == EMU_INSN_UNKNOWN); /* xsaves64 [rbx] */
    CHECK(DECODE("\x0f\xb8\xc1").kind == EMU_INSN_UNKNOWN);     /* popcnt without its prefix */
    CHECK(DECODE("\x66\x0f\x3a\x44\xc1\x00").kind == EMU_INSN_UNKNOWN); /* pclmulqdq */
    CHECK(DECODE("\xc5\xfc\xef\xc0").kind == EMU_INSN_UNKNOWN);         /* vpxor */
    CHECK(DECODE("\xc4\xe1\x70\xf2\xc2").kind == EMU_INSN_UNKNOWN);     /* andn in another map */
    CHECK(DECODE("\xc4\xe2\x78\xf3\xc1").kind == EMU_INSN_UNKNOWN);     /* group 17 /0 */
    CHECK(decode("", 0).kind == EMU_INSN_TRUNCATED);
}

static void test_malformed(void)
{
    CHECK(DECODE("\xf0\xf3\x0f\xb8\xc1").kind == EMU_INSN_UNDEFINED);     /* lock popcnt */
    CHECK(DECODE("\xf0\x48\x0f\xae\x23").kind == EMU_INSN_UNDEFINED);     /* lock xsave */
    CHECK(DECODE("\xc4\xe2\x74\xf2\xc2").kind == EMU_INSN_UNDEFINED);     /* VEX.L */
    CHECK(DECODE("\x66\xc4\xe2\x70\xf2\xc2").kind == EMU_INSN_UNDEFINED); /* 66 and VEX */
    CHECK(DECODE("\x48\xc4\xe2\x70\xf2\xc2").kind == EMU_INSN_UNDEFINED); /* REX and VEX */
    CHECK(DECODE("\xf0\xc4\xe2\x70\xf2\xc2").kind == EMU_INSN_UNDEFINED); /* LOCK and VEX */
    CHECK(DECODE("\xc4\xe3\x73\xf0\xc1\x03").kind == EMU_INSN_UNDEFINED); /* rorx, vvvv used */
}

static void test_prefixes(void)
{
    CHECK(DECODE("\xf3\x0f\xb8\xc1").operand_size == 4);
    CHECK(DECODE("\x66\xf3\x0f\xb8\xc1").operand_size == 2);
    CHECK(DECODE("\xf3\x66\x0f\xb8\xc1").operand_size == 2);
    CHECK(DECODE("\x66\xf3\x48\x0f\xb8\xc1").operand_size == 8);
    CHECK(DECODE("\x66\x0f\x38\xf6\xc1").operand_size == 4);
    CHECK(DECODE("\xc4\xe2\xf0\xf2\xc2").operand_size == 8);
    /* Of two repeat prefixes the last counts. */
    CHECK(DECODE("\xf2\xf3\x0f\xb8\xc1").kind == EMU_INSN_POPCNT);
    CHECK(DECODE("\xf3\xf2\x0f\xb8\xc1").kind == EMU_INSN_UNKNOWN);
    /* A REX prefix that another prefix follows does not count. */
    CHECK(DECODE("\xf3\x48\x66\x0f\xb8\xc1").operand_size == 2);
    CHECK(DECODE("\x48\xf3\x0f\xb8\xc1").operand_size == 4);
    CHECK(!DECODE("\x48\xf3\x0f\xb8\xc1").has_rex);
    CHECK(DECODE("\x41\x48\xf3\x44\x0f\xb8\xc1").reg == 8);
    /* An instruction has at most fifteen bytes. */
    CHECK(DECODE("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\xf3\x0f\xb8\xc1").length == 15);
    CHECK(DECODE("\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\x2e\xf3\x0f\xb8\xc1").kind ==
          EMU_INSN_UNKNOWN);
}

static void test_registers(void)
{
    struct emu_insn insn = DECODE("\xf3\x4d\x0f\xb8\xfc"); /* popcnt r15, r12 */
    CHECK(insn.reg == 15 && insn.rm == 12 && !insn.is_memory);
    insn = DECODE("\xc4\x42\x98\xf2\xee"); /* andn r13, r12, r14 */
    CHECK(insn.reg == 13 && insn.vvvv == 12 && insn.rm == 14 && insn.operand_size == 8);
    insn = DECODE("\xc4\xe3\xfb\xf0\xc1\x2a"); /* rorx rax, rcx, 42 */
    CHECK(insn.immediate == 42 && insn.reg == 0 && insn.rm == 1);
}

static void test_addresses(void)
{
    CHECK(DECODE("\x0f\xae\x21").address == 0x2000);                      /* [rcx] */
    CHECK(DECODE("\x0f\xae\x61\xf8").address == 0x1ff8);                  /* [rcx - 8] */
    CHECK(DECODE("\x0f\xae\xa1\x00\x01\x00\x00").address == 0x2100);      /* [rcx + 256] */
    CHECK(DECODE("\x0f\xae\xa1\x00\xf0\xff\xff").address == 0x1000);      /* [rcx - 4096] */
    CHECK(DECODE("\x0f\xae\x24\x24").address == 0x5000);                  /* [rsp] */
    CHECK(DECODE("\x0f\xae\x24\x88").address == 0x1000 + 4 * 0x2000);     /* [rax + 4 * rcx] */
    CHECK(DECODE("\x0f\xae\x64\x24\x10").address == 0x5010);              /* [rsp + 16] */
    CHECK(DECODE("\x0f\xae\x65\x00").address == 0x6000);                  /* [rbp] */
    CHECK(DECODE("\x0f\xae\x64\x45\x04").address == 0x6004 + 2 * 0x1000); /* [rbp + 2*rax + 4] */
    CHECK(DECODE("\x0f\xae\x24\x25\x00\x10\x00\x80").address == 0xffffffff80001000ull); /* abs */
    CHECK(DECODE("\x0f\xae\x24\x8d\x08\x00\x00\x00").address == 4 * 0x2000 + 8); /* [4*rcx + 8] */
    CHECK(DECODE("\x41\x0f\xae\x24\x24").address == 0xd0000);                    /* [r12] */
    CHECK(DECODE("\x41\x0f\xae\x65\x00").address == 0xe0000);                    /* [r13] */
    CHECK(DECODE("\x42\x0f\xae\x24\x20").address == 0x1000 + 0xd0000);           /* [rax + r12] */
    CHECK(DECODE("\x43\x0f\xae\xa4\xcd\x01\x00\x00\x00").address ==
          0xe0001 + 8 * 0xa0000); /* [r13 + 8*r9 + 1] */
    /* RIP-relative, counted from the end of the instruction, immediate included. */
    CHECK(DECODE("\x0f\xae\x25\x10\x00\x00\x00").address == regs.rip + 7 + 0x10);
    CHECK(DECODE("\xc4\xe3\x7b\xf0\x05\xf0\xff\xff\xff\x03").address == regs.rip + 10 - 0x10);
    CHECK(DECODE("\x65\x0f\xae\x25\x10\x00\x00\x00").address == GS_BASE + regs.rip + 8 + 0x10);
    /* Segments. */
    CHECK(DECODE("\x64\x0f\xae\x21").address == FS_BASE + 0x2000);
    CHECK(DECODE("\x65\x48\x0f\xc7\x0e").address == GS_BASE + 0x7000);
    CHECK(DECODE("\x2e\x36\x3e\x26\x0f\xae\x21").address == 0x2000);
    /* A 32-bit address is cut before the segment's base is added. */
    CHECK(DECODE("\x67\x41\x0f\xae\x67\xff").address == 0xffffffff); /* [r15d - 1] */
    CHECK(DECODE("\x65\x67\x41\x0f\xae\x67\xff").address == GS_BASE + 0xffffffff);
    CHECK(DECODE("\x67\x0f\xae\x25\x10\x00\x00\x00").address == 0x81000018);
}

/* Random bytes: the result is a valid kind, and the length is within the input. */
static void test_random_bytes(void)
{
    uint8_t bytes[EMU_INSN_LENGTH_MAX + 1];
    unsigned wrong = 0;
    srand(1);
    for (unsigned i = 0; i < 300000; i++) {
        size_t length = (size_t)rand() % sizeof bytes;
        for (size_t j = 0; j < length; j++)
            bytes[j] = (uint8_t)rand();
        struct emu_insn insn = decode(bytes, length);
        if (insn.kind >= EMU_INSN_KINDS || insn.length > length ||
            (insn.kind > EMU_INSN_TRUNCATED && insn.length == 0))
            wrong++;
    }
    CHECK(wrong == 0);
}

int main(void)
{
    test_kinds();
    test_unknown();
    test_malformed();
    test_prefixes();
    test_registers();
    test_addresses();
    test_random_bytes();
    return check_finish();
}
