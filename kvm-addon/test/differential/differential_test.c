/*
 * The interpreter against the processor: random programs of a few instructions run in both, and
 * registers, the status flags that are defined, memory and faults must come out alike. The engine
 * runs each once interpreted and once translated.
 *
 *   differential_test [INSTRUCTIONS [SEED [64|32]]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../src/pvm/arch.h"
#include "../../src/pvm/counters.h"
#include "../../src/pvm/interpret.h"
#include "../../src/pvm/tlb.h"
#include "forms.h"
#include "generate.h"
#include "machine.h"
#include "random.h"

#define INSTRUCTIONS 1000000u
#define SEED 1u
#define DIFFERENCES_MAX 10u
#define JUMPS_MAX 1000

static struct machine machine;
static uint64_t insns, programs, faults, differences;

/* ---- both runs ---- */

static void write_code(const struct program *program)
{
    uint64_t offset = program->start.rip - CODE_BASE;
    uint8_t *native = native_code + offset;
    memcpy(native, program->bytes, program->length);
    unsigned length = program->length + native_end(native + program->length, program->compat);
    memcpy(machine.code + offset, native, length);
}

/* How the engine executes code. */
enum way { INTERPRETED, IN_STEPS, TRANSLATED };

static enum interpreted run_program(struct cpu *cpu, enum way way)
{
    enum interpreted why = INTERPRETED_ATTENTION;
    for (unsigned i = 0; i < JUMPS_MAX && why == INTERPRETED_ATTENTION; i++) {
        cpu->budget = JUMPS_MAX;
        why = way == IN_STEPS ? interpret_once(cpu) : interpret(cpu);
    }
    return why;
}

/* Returns false if it left for a reason other than an exception; `why` has the reason. */
static bool run_state(struct state *state, bool compat, enum way way, enum interpreted *why)
{
    struct cpu *cpu = machine.cpu;
    memcpy(cpu->r, state->r, sizeof(state->r));
    cpu_set_rflags(cpu, state->rflags);
    cpu->rip = state->rip;
    machine_set_mode(&machine, compat);
    machine_translate(&machine, way == TRANSLATED);
    *why = run_program(cpu, way);
    memcpy(state->r, cpu->r, sizeof(state->r));
    state->rflags = cpu_rflags(cpu);
    state->rip = cpu->rip;
    if (*why != INTERPRETED_EXCEPTION)
        return false;
    const struct cpu_exception *exception = &cpu->exception;
    state->faulted = exception->vector != VECTOR_PF || cpu->rip != native_end_address(compat);
    state->vector = exception->vector;
    state->error = exception->has_error ? exception->error : 0;
    state->address = exception->address;
    return true;
}

/* ---- the comparison ---- */

/* Which operand of CMPS faults first depends on the processor, and varies even on one. */
static bool is_cmps(uint64_t rip)
{
    if (rip - CODE_BASE >= CODE_PAGES * PAGE - 16)
        return false;
    const uint8_t *byte = native_code + (rip - CODE_BASE);
    while (*byte == 0x66 || *byte == 0x3e || *byte == 0xf2 || *byte == 0xf3 || *byte >> 4 == 4)
        byte++;
    return (*byte & 0xfe) == 0xa6;
}

static const char *difference(const struct program *program, const struct state *ours,
                              const struct state *native)
{
    unsigned registers = program->compat ? 8 : 16;
    uint64_t mask = program->compat ? UINT32_MAX : UINT64_MAX;
    if (ours->faulted != native->faulted)
        return "fault";
    if (ours->rip != native->rip)
        return "rip";
    bool first_unknown = ours->faulted && is_cmps(ours->rip);
    if (ours->faulted && !first_unknown &&
        (ours->vector != native->vector || ours->error != native->error))
        return "exception";
    if (ours->faulted && !first_unknown && ours->vector == VECTOR_PF &&
        ours->address != native->address)
        return "address of the fault";
    for (unsigned i = 0; i < registers; i++)
        if ((ours->r[i] ^ native->r[i]) & mask)
            return "register";
    uint64_t compared = (STATUS_FLAGS | RFLAGS_DF | RFLAGS_IOPL | RFLAGS_IF) & ~program->undefined;
    if (!ours->faulted && (ours->rflags ^ native->rflags) & compared)
        return "flags";
    if (memcmp(machine.data, native_data, DATA_SIZE) != 0)
        return "memory";
    return NULL;
}

static void print_memory(void)
{
    for (unsigned i = 0; i < DATA_SIZE; i++)
        if (machine.data[i] != native_data[i])
            printf("  at %x: interpreted %02x, processor %02x\n", DATA_BASE + i, machine.data[i],
                   native_data[i]);
}

static void print_difference(const struct program *program, const char *what,
                             const struct state *ours, const struct state *native)
{
    printf("%s differs, %s, program %llu:", what, program->compat ? "32-bit" : "64-bit",
           (unsigned long long)programs);
    for (unsigned i = 0; i < program->length; i++)
        printf(" %02x", program->bytes[i]);
    printf("\n  rip from %lx: interpreted %lx, processor %lx; flags from %lx: %lx, %lx\n",
           program->start.rip, ours->rip, native->rip, program->start.rflags, ours->rflags,
           native->rflags);
    printf("  interpreted: vector %d error %lx address %lx; processor: %d %lx %lx\n",
           ours->faulted ? (int)ours->vector : -1, ours->error, ours->address,
           native->faulted ? (int)native->vector : -1, native->error, native->address);
    for (unsigned i = 0; i < 16; i++)
        printf("  r%-2u from %016lx: %016lx %016lx%s\n", i, program->start.r[i], ours->r[i],
               native->r[i], ours->r[i] == native->r[i] ? "" : " *");
    print_memory();
}

/*
 * Addresses where this process has mapped something besides the programs' memory: the processor
 * would access it.
 */
static bool is_our_own(uint64_t address)
{
    return address - DATA_BASE >= DATA_SIZE && address - CODE_BASE >= CODE_PAGES * PAGE &&
           msync((void *)(address & ~(uint64_t)(PAGE - 1)), PAGE, MS_ASYNC) == 0;
}

static void refresh_data(void)
{
    bool all = one_in(256);
    for (unsigned i = 0; i < (all ? DATA_SIZE / 8 : 8); i++) {
        unsigned at = all ? i * 8 : random_below(DATA_SIZE / 8) * 8;
        uint64_t word = one_in(4) ? 0 : random_word();
        native_write(at, word);
        memcpy(machine.data + at, &word, 8);
    }
}

/* Returns false if the program is not compared; memory is then unchanged. */
static bool run_ours(const struct program *program, enum way way, struct state *ours,
                     const char **what)
{
    static char left[32];
    enum interpreted why;
    *ours = program->start;
    *what = NULL;
    if (!run_state(ours, program->compat, way, &why)) {
        /* A bit offset that reaches the code; self-modifying programs are not compared. */
        if (why == INTERPRETED_ONCE)
            return false;
        snprintf(left, sizeof(left), "reason %d to leave", why);
        *what = left;
    }
    return !(ours->faulted && ours->vector == VECTOR_PF && is_our_own(ours->address));
}

static void compare(const struct program *program, enum way way, const struct state *ours,
                    const struct state *native, const char *what)
{
    if (!what)
        what = difference(program, ours, native);
    if (!what)
        return;
    printf("%s: ", way == TRANSLATED ? "translated" : "interpreted");
    print_difference(program, what, ours, native);
    differences++;
}

/* Memory that programs change, including the code. */
struct image {
    uint8_t data[DATA_SIZE];
    uint8_t code[CODE_PAGES * PAGE];
};

static void save_image(struct image *image)
{
    memcpy(image->data, machine.data, sizeof(image->data));
    memcpy(image->code, machine.code, sizeof(image->code));
}

static void restore_image(const struct image *image)
{
    memcpy(machine.data, image->data, sizeof(image->data));
    memcpy(machine.code, image->code, sizeof(image->code));
}

/* First interpreted, then translated, from the same memory; finally natively, if that can be
 * compared. */
static void try_program(bool compat)
{
    static struct image before, interpreted;
    struct program program;
    program_generate(&program, compat);
    write_code(&program);
    refresh_data();
    if (one_in(4))
        tlb_flush_all(machine.cpu);
    enum way way = one_in(8) ? IN_STEPS : INTERPRETED;
    struct state ours, translated, native = program.start;
    const char *what, *what_translated;
    save_image(&before);
    bool is_compared = run_ours(&program, way, &ours, &what);
    save_image(&interpreted);
    restore_image(&before);
    if (!is_compared || !run_ours(&program, TRANSLATED, &translated, &what_translated)) {
        restore_image(&before);
        return;
    }
    native_run(&native, compat);
    compare(&program, TRANSLATED, &translated, &native, what_translated);
    restore_image(&interpreted);
    compare(&program, way, &ours, &native, what);
    programs++;
    insns += program.insns;
    faults += native.faulted;
    memcpy(machine.data, native_data, DATA_SIZE);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 0) : INSTRUCTIONS;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : SEED;
    int mode = argc > 3 ? atoi(argv[3]) : 0;
    if (!native_init() || !machine_init(&machine))
        return 1;
    random_seed(seed);
    while (insns < count && differences < DIFFERENCES_MAX)
        try_program(mode == 32 || (mode == 0 && one_in(3)));
    printf("seed %llu: %llu instructions in %llu programs, %llu ended by a fault; %llu "
           "differences; %llu translations of %llu instructions\n",
           (unsigned long long)seed, (unsigned long long)insns, (unsigned long long)programs,
           (unsigned long long)faults, (unsigned long long)differences,
           (unsigned long long)machine.cpu->counters->translations,
           (unsigned long long)machine.cpu->counters->translated);
    /* A program whose first instruction cannot be translated may mostly be translated. */
    bool translated = machine.cpu->counters->translations > programs / 2;
    if (!translated)
        printf("only %llu translations were made\n",
               (unsigned long long)machine.cpu->counters->translations);
    machine_free(&machine);
    return differences != 0 || !translated;
}
