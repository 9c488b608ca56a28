#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../../src/pvm/arch.h"
#include "../../src/pvm/cpu_mode.h"
#include "../../src/pvm/cpu_setup.h"
#include "../../src/pvm/devices.h"
#include "../../src/pvm/engine_api.h"
#include "../../src/pvm/fpu.h"
#include "../../src/pvm/page_entry.h"
#include "../../src/pvm/private_region.h"
#include "../../src/pvm/safepoint.h"
#include "../../src/pvm/simd.h"
#include "../../src/pvm/system.h"
#include "../../src/pvm/tables.h"
#include "../../src/pvm/tlb.h"
#include "native.h"

#define MEMORY_BYTES (4u << 20)
#define ROOT_GPA 0x1000u
#define CODE_GPA 0x100000u
#define DATA_GPA 0x200000u
#define REGION_GPA 0xd8000000u
#define USER (ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER)

static struct private_region region = {.gpa = REGION_GPA};

/* ---- functions that programs at CPL 3 must not call ---- */

static _Noreturn void not_here(struct cpu *cpu, const struct insn *insn)
{
    cpu_leave(cpu, insn, INTERPRETED_STEP);
}

uint64_t device_read(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size)
{
    (void)gpa;
    (void)size;
    not_here(cpu, insn);
}

void device_write(struct cpu *cpu, const struct insn *insn, uint64_t gpa, unsigned size,
                  uint64_t value)
{
    (void)gpa;
    (void)size;
    (void)value;
    not_here(cpu, insn);
}

uint32_t port_read(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size)
{
    (void)port;
    (void)size;
    not_here(cpu, insn);
}

void port_write(struct cpu *cpu, const struct insn *insn, uint16_t port, unsigned size,
                uint32_t value)
{
    (void)port;
    (void)size;
    (void)value;
    not_here(cpu, insn);
}

uint64_t control_read(struct cpu *cpu, const struct insn *insn, unsigned number)
{
    (void)number;
    not_here(cpu, insn);
}

void control_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value)
{
    (void)number;
    (void)value;
    not_here(cpu, insn);
}

uint64_t debug_read(struct cpu *cpu, const struct insn *insn, unsigned number)
{
    (void)number;
    not_here(cpu, insn);
}

void debug_write(struct cpu *cpu, const struct insn *insn, unsigned number, uint64_t value)
{
    (void)number;
    (void)value;
    not_here(cpu, insn);
}

void control_invpcid(struct cpu *cpu, const struct insn *insn, uint64_t type, uint64_t pcid,
                     uint64_t address)
{
    (void)type;
    (void)pcid;
    (void)address;
    not_here(cpu, insn);
}

uint64_t msr_read(struct cpu *cpu, const struct insn *insn, uint32_t number)
{
    (void)number;
    not_here(cpu, insn);
}

void msr_write(struct cpu *cpu, const struct insn *insn, uint32_t number, uint64_t value)
{
    (void)number;
    (void)value;
    not_here(cpu, insn);
}

void cpuid_execute(struct cpu *cpu)
{
    not_here(cpu, NULL);
}

uint16_t segment_selector(const struct cpu *cpu, unsigned number)
{
    (void)cpu;
    (void)number;
    return 0;
}

void segment_load(struct cpu *cpu, const struct insn *insn, unsigned number, uint16_t selector)
{
    (void)number;
    (void)selector;
    not_here(cpu, insn);
}

void segment_load_tr(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    (void)selector;
    not_here(cpu, insn);
}

void segment_load_ldt(struct cpu *cpu, const struct insn *insn, uint16_t selector)
{
    (void)selector;
    not_here(cpu, insn);
}

void segment_swap_gs(struct cpu *cpu)
{
    not_here(cpu, NULL);
}

void far_iret(struct cpu *cpu, const struct insn *insn, unsigned operand_size)
{
    (void)operand_size;
    not_here(cpu, insn);
}

void far_return(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t release)
{
    (void)operand_size;
    (void)release;
    not_here(cpu, insn);
}

void far_jump(struct cpu *cpu, const struct insn *insn, unsigned operand_size, uint16_t selector,
              uint64_t offset, bool is_call, uint64_t next)
{
    (void)operand_size;
    (void)selector;
    (void)offset;
    (void)is_call;
    (void)next;
    not_here(cpu, insn);
}

void far_syscall(struct cpu *cpu, const struct insn *insn, uint64_t next)
{
    (void)next;
    not_here(cpu, insn);
}

void far_sysret(struct cpu *cpu, const struct insn *insn, bool to_64_bit)
{
    (void)to_64_bit;
    not_here(cpu, insn);
}

void far_sysenter(struct cpu *cpu, const struct insn *insn)
{
    not_here(cpu, insn);
}

void far_sysexit(struct cpu *cpu, const struct insn *insn, bool to_64_bit)
{
    (void)to_64_bit;
    not_here(cpu, insn);
}

int simd_decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn)
{
    (void)bytes;
    (void)offset;
    (void)available;
    (void)mode;
    (void)insn;
    return -1;
}

uint64_t *private_region_root(const struct private_region *of, unsigned index)
{
    return (uint64_t *)(of->memory + index * PAGE_SIZE);
}

uint64_t private_region_root_gpa(const struct private_region *of, unsigned index)
{
    return of->gpa + index * PAGE_SIZE;
}

uint64_t private_region_root_entry(const struct private_region *of)
{
    return (of->gpa + 0x1f0000) | USER;
}

/* ---- memory ---- */

static uint64_t *entry_of(struct machine *machine, uint64_t va, uint64_t *next_table)
{
    uint64_t table = ROOT_GPA;
    for (unsigned level = TABLE_LEVELS;; level--) {
        uint64_t *entry =
            (uint64_t *)guest_memory_at(&machine->memory, table + 8 * entry_index(va, level), 8);
        if (level == 1)
            return entry;
        if (!(*entry & ENTRY_PRESENT)) {
            *entry = *next_table | USER;
            *next_table += PAGE_SIZE;
        }
        table = *entry & ENTRY_ADDRESS;
    }
}

static void map_pages(struct machine *machine)
{
    uint64_t next_table = ROOT_GPA + PAGE_SIZE;
    for (unsigned i = 0; i < DATA_PAGES; i++)
        *entry_of(machine, DATA_BASE + i * PAGE, &next_table) =
            (DATA_GPA + i * PAGE) | (i == DATA_READ_ONLY ? USER & ~ENTRY_WRITABLE : USER) |
            ENTRY_NO_EXECUTE;
    for (unsigned i = 0; i < CODE_PAGES; i++)
        *entry_of(machine, CODE_BASE + i * PAGE, &next_table) = (CODE_GPA + i * PAGE) | USER;
}

bool machine_init(struct machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    machine->cpu = calloc(1, sizeof(*machine->cpu));
    region.memory = calloc(PRIVATE_ROOTS, PAGE_SIZE);
    if (!machine->cpu || !region.memory || guest_memory_add(&machine->memory, 0, MEMORY_BYTES) != 0)
        return false;
    machine->engine.memory = &machine->memory;
    machine->engine.private_region = &region;
    machine->engine.reserved_bits = 0x000fff0000000000ull;
    machine->engine.translate_after = 1;
    if (frames_init(&machine->engine.frames, &machine->memory) != 0 ||
        tables_init(&machine->engine) != 0 || cpu_init(machine->cpu, &machine->engine, 0) != 0)
        return false;
    machine->data = guest_memory_at(&machine->memory, DATA_GPA, DATA_SIZE);
    machine->code = guest_memory_at(&machine->memory, CODE_GPA, CODE_PAGES * PAGE_SIZE);
    map_pages(machine);
    struct cpu *cpu = machine->cpu;
    cpu->sregs.cr0 = CR0_PG | CR0_PE | CR0_WP | CR0_AM;
    cpu->sregs.cr3 = ROOT_GPA;
    cpu->sregs.cr4 = CR4_PAE | CR4_PGE | CR4_FSGSBASE;
    cpu->sregs.efer = EFER_LME | EFER_LMA | EFER_NXE;
    cpu->segment_base[BASE_FS] = native_fs_base;
    cpu->segment_base[BASE_GS] = NATIVE_GS_BASE;
    safepoint_enter(cpu);
    return true;
}

void machine_free(struct machine *machine)
{
    safepoint_exit(machine->cpu);
    cpu_destroy(machine->cpu);
    free(machine->cpu);
    tables_destroy(&machine->engine);
    frames_destroy(&machine->engine.frames);
    free(region.memory);
    guest_memory_free(&machine->memory);
}

void machine_set_mode(struct machine *machine, bool compat)
{
    struct cpu *cpu = machine->cpu;
    const struct kvm_segment data = {
        .limit = UINT32_MAX, .type = 3, .present = 1, .dpl = 3, .db = 1, .s = 1, .g = 1};
    cpu->sregs.cs = data;
    cpu->sregs.cs.type = 11;
    cpu->sregs.cs.db = compat;
    cpu->sregs.cs.l = !compat;
    cpu->sregs.ss = cpu->sregs.ds = cpu->sregs.es = data;
    cpu->compat = compat;
    cpu_set_cpl(cpu, 3);
}

void machine_translate(struct machine *machine, bool on)
{
    static struct translator *translator;
    if (machine->cpu->translator)
        translator = machine->cpu->translator;
    machine->cpu->translator = on ? translator : NULL;
    memset(machine->cpu->heat, 1, sizeof(machine->cpu->heat));
    machine_code_written(machine);
}

void machine_code_written(struct machine *machine)
{
    engine_memory_written(&machine->engine, CODE_GPA, CODE_PAGES * PAGE_SIZE);
    safepoint_serve(machine->cpu);
}
