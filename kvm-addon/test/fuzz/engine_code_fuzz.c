/*
 * Random code at both privilege levels and in both modes, whose exceptions are delivered to further
 * random code. It must access only the guest's host memory, end, and leave the vCPU in a valid
 * state.
 */
#include "../../src/pvm/interpret.h"
#include "../unit/engine_guest.h"

#define STRETCHES 24 /* Maximum number of calls of the interpreter per input. */
#define STRETCH 60   /* Maximum number of jumps per call. */

static struct guest guest;

/* Register values: addresses of every kind of page, at edges, and unmapped ones. */
static const uint64_t places[] = {
    GUEST_DATA,
    GUEST_USER + GUEST_DATA,
    GUEST_USER + GUEST_DATA + 0xff8,
    GUEST_READ_ONLY + GUEST_DATA,
    GUEST_NO_EXECUTE + GUEST_DATA + 0x7fd,
    GUEST_USER + GUEST_CODE,
    GUEST_USER + GUEST_CODE + 0xffe,
    GUEST_DEVICE + 0x10,
    GUEST_USER + GUEST_BYTES - 4,
    GUEST_UPPER + GUEST_DATA,
    GUEST_UPPER + GUEST_TABLES,
    GUEST_TABLES + 0x10000,
    GUEST_GDT + 8,
    0x7fffffffffff,
    0xffff800000000000,
    0x8000000000000000,
    0,
    1,
    UINT64_MAX,
    0x3b,
    GUEST_STACK - 64,
    GUEST_USER + GUEST_STACK - 64,
};

static void set_registers(struct cpu *cpu, struct fuzz_input *input, bool compat)
{
    for (unsigned i = 0; i < 16; i++) {
        uint8_t choice = input_u8(input);
        cpu->r[i] = choice < 0xe0 ? places[choice % (sizeof(places) / sizeof(*places))] +
                                        (choice & 0x40 ? choice >> 3 : 0)
                                  : input_u64(input);
        if (compat)
            cpu->r[i] = (uint32_t)cpu->r[i];
    }
}

/* Control register and flag bits that an input sets; each affects checks. */
static void set_controls(struct cpu *cpu, struct fuzz_input *input)
{
    uint8_t choice = input_u8(input);
    cpu->sregs.cr4 |= (choice & 1 ? CR4_SMAP : 0) | (choice & 2 ? CR4_SMEP : 0) |
                      (choice & 4 ? CR4_UMIP : 0) | (choice & 8 ? CR4_FSGSBASE : 0) |
                      (choice & 16 ? CR4_TSD : 0);
    if (choice & 32)
        cpu->sregs.cr0 &= ~CR0_WP;
    if (choice & 64)
        cpu->sregs.cr0 |= CR0_TS;
    uint64_t rflags = input_u16(input) & ~(uint64_t)RFLAGS_TF;
    cpu_set_rflags(cpu, rflags | (choice & 128 ? RFLAGS_AC : 0));
    cpu_choose_tlb(cpu);
    cpu->segment_base[BASE_FS] = places[input_u8(input) % 13];
    cpu->segment_base[BASE_GS] = places[input_u8(input) % 13];
    guest.msrs.kernel_gs_base = GUEST_UPPER + GUEST_DATA;
}

static void check_cpu(const struct cpu *cpu)
{
    REQUIRE(cpu->r[REG_ZERO] == 0);
    REQUIRE(cpu->segment_base[BASE_NONE] == 0);
    REQUIRE(cpu->cpl <= 3);
    REQUIRE(!(cpu->rflags & RFLAGS_STATUS));
    REQUIRE(cpu->tlb == cpu->tlbs[TLB_USER] || cpu->cpl != 3);
    REQUIRE(!cpu->compat || cpu->rip <= UINT32_MAX);
    REQUIRE(!cpu->once);
}

/* Like the run loop. Returns false when it has ended. */
static bool go_on(struct cpu *cpu, enum interpreted why, bool *once)
{
    *once = false;
    switch (why) {
    case INTERPRETED_ATTENTION:
        cpu->rflags &= ~(uint64_t)RFLAGS_TF;
        return true;
    case INTERPRETED_ONCE:
        *once = true;
        return true;
    case INTERPRETED_EXCEPTION:
        return exception_deliver(cpu, &cpu->exception) == DELIVERED;
    case INTERPRETED_HALT:
        cpu->rflags |= RFLAGS_IF;
        return exception_deliver_interrupt(cpu, 0x40) == DELIVERED;
    case INTERPRETED_STEP:
    case INTERPRETED_NATIVE:
        /* Left to KVM: continues with the next byte. */
        cpu->rip = cpu->compat ? (uint32_t)(cpu->rip + 1) : cpu->rip + 1;
        return true;
    case INTERPRETED_STOPPED:
        break;
    }
    return false;
}

static void put_code(struct fuzz_input *input)
{
    size_t size = input->size < GUEST_CODE_BYTES ? input->size : GUEST_CODE_BYTES;
    uint8_t *code = guest.ram + GUEST_CODE;
    memset(code, 0xf4, GUEST_CODE_BYTES); /* HLT */
    /* Twice: exception handlers start in the first page, the program in the second. */
    memcpy(code, input->data, size < 0x1000 ? size : 0x1000);
    memcpy(code + 0x1000 - (size < 64 ? size / 2 : 32), input->data, size < 0x1000 ? size : 0x1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct fuzz_input input = {.data = data, .size = size};
    struct cpu *cpu = &guest.cpu;

    if (!ready)
        ready = guest_init(&guest);
    REQUIRE(ready);
    uint8_t mode = input_u8(&input);
    unsigned cpl = mode & 1 ? 3 : 0;
    bool compat = mode & 2, once = mode & 4;
    guest.translates = mode & 8;
    guest_reset(&guest, cpl, compat);
    set_registers(cpu, &input, compat);
    set_controls(cpu, &input);
    put_code(&input);
    cpu->rip =
        (cpl == 3 ? GUEST_USER : 0) + GUEST_CODE + 0x1000 - (input.size < 64 ? input.size / 2 : 32);
    for (unsigned i = 0; i < STRETCHES; i++) {
        cpu->budget = STRETCH;
        enum interpreted why = once ? interpret_once(cpu) : interpret(cpu);
        check_cpu(cpu);
        if (!go_on(cpu, why, &once))
            break;
        safepoint_serve(cpu);
    }
    return 0;
}
