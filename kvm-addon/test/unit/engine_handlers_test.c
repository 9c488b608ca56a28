/*
 * Every opcode with every prefix, at both privilege levels and in both modes: handlers continue by
 * tail calls, and none of them leaves the vCPU in an invalid state.
 */
#include "../../src/pvm/decode.h"
#include "../../src/pvm/interpret.h"
#include "../check.h"
#include "engine_guest.h"

#define PREFIX_SETS (sizeof(prefix_sets) / sizeof(*prefix_sets))
#define MAPS (sizeof(maps) / sizeof(*maps))
#define TAILS (sizeof(tails) / sizeof(*tails))

static const char *const prefix_sets[] = {
    "",         "\x66",     "\xf0",     "\xf2",         "\xf3",         "\x65",     "\x67",
    "\x48",     "\x44",     "\x41",     "\x66\xf3",     "\x66\xf2",     "\xf3\x48", "\x66\xf0",
    "\x64\x4f", "\xf0\x48", "\x66\x48", "\xf2\x48\x0f", "\xf2\x66\xf0",
};
static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a", "\xc5", "\xc4\xe2"};
/* ModRM and what follows: a register, [rax], [rip/disp32], SIB, byte and word displacements. */
static const char *const tails[] = {
    "\xc1\x12\x03\x44\x05\x06\x07\x08\x09", "\xf8\x01\x02\x03\x04\x05\x06\x07\x08",
    "\xdb\xff\x02\x03\x04\x05\x06\x07\x08", "\x00\x11\x22\x33\x44\x55\x66\x77\x88",
    "\x3d\x10\x00\x00\x00\x10\x20\x30\x40", "\x14\x0b\x01\x02\x03\x04\x05\x06\x07",
    "\x68\x08\x80\x02\x03\x04\x05\x06\x07", "\xb1\x00\x01\x00\x00\x7f\x01\x02\x03",
    "\x21\x00\x00\x00\x00\x00\x00\x00\x00", "\x4f\x10\x01\x01\x01\x01\x01\x01\x01",
};

static struct guest guest;

/* Calls `each` for every instruction of the sets above. Their opcodes have fewer than 16 bytes. */
static void for_each_insn(void (*each)(const uint8_t *bytes))
{
    for (unsigned p = 0; p < PREFIX_SETS; p++)
        for (unsigned m = 0; m < MAPS; m++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                for (unsigned t = 0; t < TAILS; t++) {
                    uint8_t bytes[32] = {0};
                    size_t prefixes = strlen(prefix_sets[p]), map = strlen(maps[m]);
                    memcpy(bytes, prefix_sets[p], prefixes);
                    memcpy(bytes + prefixes, maps[m], map);
                    bytes[prefixes + map] = (uint8_t)opcode;
                    memcpy(bytes + prefixes + map + 1, tails[t], 9);
                    each(bytes);
                }
}

/* ---- tail calls ---- */

static const void *frame_seen;
static uint64_t tail_calls, calls;

__attribute__((noinline)) static void note_frame(struct cpu *cpu, struct insn *insn)
{
    (void)cpu;
    (void)insn;
    frame_seen = __builtin_frame_address(0);
}

__attribute__((noinline)) static void call_handler(struct cpu *cpu, struct insn *insn)
{
    insn->handler(cpu, insn);
    /* Keeps this call from being a tail call. */
    __asm__ volatile("");
}

static void set_registers(struct cpu *cpu, uint64_t to)
{
    for (unsigned i = 0; i < 16; i++)
        cpu->r[i] = to + 0x100 * i;
}

static void try_tail_call(const uint8_t *bytes)
{
    struct cpu *cpu = &guest.cpu;
    struct insn insns[3] = {0};
    bool ends;
    if (decode(bytes, 0, 32, DECODE_64, &insns[0], &ends) == 0)
        return;
    insns[1].handler = insns[2].handler = note_frame;
    guest_set_mode(&guest, 0, false);
    set_registers(cpu, GUEST_DATA);
    cpu->r[REG_RCX] = 3;
    cpu->r[REG_PAGE] = GUEST_CODE;
    cpu->budget = 100;
    cpu->once = true;
    call_handler(cpu, &insns[1]);
    const void *expected = frame_seen;
    frame_seen = NULL;
    if (setjmp(cpu->leave) == 0)
        call_handler(cpu, &insns[0]);
    if (frame_seen) {
        calls++;
        tail_calls += frame_seen == expected;
    }
}

static void test_tail_calls(void)
{
    guest_reset(&guest, 0, false);
    for_each_insn(try_tail_call);
    /* Most continue with the next instruction; the others fault, jump or leave. */
    CHECK(calls > 30000);
    CHECK(tail_calls == calls);
}

/* ---- any result ---- */

static unsigned current_cpl;
static bool current_compat;
static uint64_t executed, left;

static void try_insn(const uint8_t *bytes)
{
    struct cpu *cpu = &guest.cpu;
    uint64_t base = current_cpl == 3 ? GUEST_USER : 0;
    guest_set_mode(&guest, current_cpl, current_compat);
    set_registers(cpu, base + GUEST_DATA);
    memcpy(guest.ram + GUEST_CODE, bytes, 32);
    code_invalidate_frame(cpu, GUEST_CODE >> 12);
    cpu->rip = base + GUEST_CODE;
    enum interpreted why = interpret_once(cpu);
    executed += why == INTERPRETED_ATTENTION;
    left += why != INTERPRETED_ATTENTION;
    REQUIRE(cpu->r[REG_ZERO] == 0 && cpu->segment_base[BASE_NONE] == 0);
    REQUIRE(cpu->cpl <= 3 && !cpu->once && !(cpu->rflags & RFLAGS_STATUS));
    REQUIRE(why != INTERPRETED_EXCEPTION || cpu->exception.vector < 32 || cpu->exception.software);
    REQUIRE(why != INTERPRETED_EXCEPTION || cpu->exception.software ||
            cpu->rip == base + GUEST_CODE);
}

static void test_every_opcode(unsigned cpl, bool compat)
{
    current_cpl = cpl;
    current_compat = compat;
    guest_reset(&guest, cpl, compat);
    executed = left = 0;
    for_each_insn(try_insn);
    printf("CPL %u, %s: %llu executed, %llu not\n", cpl, compat ? "32-bit" : "64-bit",
           (unsigned long long)executed, (unsigned long long)left);
    CHECK(executed > 40000);
    CHECK(left > 10000);
}

int main(void)
{
    if (!guest_init(&guest))
        return 1;
    test_tail_calls();
    test_every_opcode(0, false);
    test_every_opcode(3, false);
    test_every_opcode(0, true);
    test_every_opcode(3, true);
    guest_free(&guest);
    return check_finish();
}
