#include "cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch.h"
#include "engine.h"
#include "fpu.h"
#include "system.h"

#define BIT(n) (1u << (n))

enum cpuid_register { EAX, EBX, ECX, EDX };

/*
 * Leaves that are copied from the processor without these bits, because CPL 3 sees the processor's.
 * (KVM's list omits features that kvm-pvm does not know.)
 */
struct cpuid_own {
    uint32_t function;
    enum cpuid_register reg;
    uint32_t hidden;
};

static const struct cpuid_own own_features[] = {
    /* MONITOR VMX SMX EIST TM2 PDCM PCID DCA OSXSAVE; PCIDs would only cost, TLBs here have none */
    {1, ECX, BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15) | BIT(17) | BIT(18) | BIT(27)},
    /* DS ACPI HTT TM PBE; HTT depends on the topology */
    {1, EDX, BIT(21) | BIT(22) | BIT(28) | BIT(29) | BIT(31)},
    /* SGX HLE RTM RDT MPX PQE PT */
    {7, EBX, BIT(2) | BIT(4) | BIT(11) | BIT(12) | BIT(14) | BIT(15) | BIT(25)},
    /*
     * PKU OSPKE WAITPKG CET TME LA57 BUS_LOCK KL MOVDIRI MOVDIR64B ENQCMD SGX_LC PKS: fpu.h on PKU
     */
    {7, ECX,
     BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(13) | BIT(16) | BIT(23) | BIT(24) | BIT(27) | BIT(28) |
         BIT(29) | BIT(30) | BIT(31)},
    /*
     * Of EDX only FSRM, MD_CLEAR and parts of AVX-512: an interpreted kernel has no use for
     * controls of speculation
     */
    {7, EDX, ~(BIT(2) | BIT(3) | BIT(4) | BIT(8) | BIT(10) | BIT(23))},
    /* SVM EXTAPIC OSVW IBS SKINIT WDT LWP TCE NODEID PERFCTR x3 PTSC MWAITX */
    {0x80000001, ECX,
     BIT(2) | BIT(3) | BIT(9) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(17) | BIT(19) |
         BIT(23) | BIT(24) | BIT(27) | BIT(28) | BIT(29)},
    {0x80000001, EDX, 0},
    /* Of power management only the invariant TSC. */
    {0x80000007, EDX, ~BIT(8)},
    /* CLZERO XSAVEERPTR WBNOINVD; the rest controls speculation */
    {0x80000008, EBX, ~(BIT(0) | BIT(2) | BIT(9))},
};

/*
 * What says that attacks by speculation do not work: no program executes while the guest's kernel
 * is mapped, and no branch of the kernel is the processor's to predict. So kernels leave out what
 * they would do about them, of which the thunks for returns and indirect branches cost most.
 */
static const struct cpuid_forced {
    enum { OF_ANY, OF_AMD, OF_INTEL } vendor;
    uint32_t function;
    enum cpuid_register reg;
    uint32_t bits;
} forced_features[] = {
    {OF_ANY, 7, EDX, BIT(29)},                   /* MSR_ARCH_CAPABILITIES: msrs.c */
    {OF_INTEL, 7, EDX, BIT(26)},                 /* IBRS, for the kind that is set once */
    {OF_AMD, 0x80000008, EBX, BIT(29)},          /* BTC_NO */
    {OF_AMD, 0x80000021, EAX, BIT(8) | BIT(29)}, /* automatic IBRS, SRSO_NO */
};

/*
 * Leaves that are not offered: MWAIT, power, performance counters, RDT, SGX, PT, AMX, SVM, SEV,
 * IBS.
 */
static const uint32_t hidden_leaves[] = {
    5,    6,    0xa,        0xf,        0x10,       0x12,       0x14,      0x1d,
    0x1e, 0x23, 0x8000000a, 0x8000001b, 0x8000001f, 0x80000020, 0x80000022};

/*
 * Of KVM's own features: the clock by both its MSRs and the word that it is stable. The others
 * share memory with, or call, a KVM that only runs CPL 3.
 */
#define KVM_FEATURES (BIT(0) | BIT(3) | BIT(24))
#define KVM_FEATURES_LEAF 0x40000001u

#define SUPPORTED_X2APIC BIT(21)
#define LEAF1_OSXSAVE BIT(27)

static uint32_t *register_of(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
    uint32_t *const registers[] = {&entry->eax, &entry->ebx, &entry->ecx, &entry->edx};
    return registers[reg];
}

static bool is_hidden(uint32_t function)
{
    for (unsigned i = 0; i < sizeof hidden_leaves / sizeof *hidden_leaves; i++) {
        if (hidden_leaves[i] == function)
            return true;
    }
    return false;
}

/* The vendor by the first letters of its name: "AuthenticAMD", its descendant "HygonGenuine". */
static bool is_amd(uint32_t leaf_0_ebx)
{
    return leaf_0_ebx == 0x68747541 || leaf_0_ebx == 0x6f677948;
}

static void force_features(struct kvm_cpuid_entry2 *entry, bool amd)
{
    for (unsigned i = 0; i < sizeof forced_features / sizeof *forced_features; i++) {
        const struct cpuid_forced *each = &forced_features[i];
        bool applies = each->vendor == OF_ANY || (each->vendor == OF_AMD) == amd;
        if (applies && each->function == entry->function && entry->index == 0)
            *register_of(entry, each->reg) |= each->bits;
    }
}

static void take_own_features(struct kvm_cpuid_entry2 *entry)
{
    uint32_t own[4];

    if (entry->index != 0 ||
        !__get_cpuid_count(entry->function, 0, &own[EAX], &own[EBX], &own[ECX], &own[EDX]))
        return;
    for (unsigned i = 0; i < sizeof own_features / sizeof *own_features; i++) {
        const struct cpuid_own *each = &own_features[i];
        if (each->function == entry->function)
            *register_of(entry, each->reg) = own[each->reg] & ~each->hidden;
    }
}

/* The entries of leaf 0xd. */
static int add_xsave(const struct cpu *cpu, struct kvm_cpuid_entry2 *entries, int count)
{
    for (uint32_t subleaf = 0; subleaf < 63 && count < CPUID_LEAVES_MAX; subleaf++) {
        uint32_t registers[4];
        fpu_cpuid_xsave(cpu, subleaf, registers);
        if (subleaf > 1 && registers[EAX] == 0)
            continue;
        entries[count++] = (struct kvm_cpuid_entry2){
            .function = 0xd,
            .index = subleaf,
            .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = registers[EAX],
            .ebx = registers[EBX],
            .ecx = registers[ECX],
            .edx = registers[EDX],
        };
    }
    return count;
}

static int list_supported(const struct cpu *cpu, struct kvm_cpuid_entry2 *entries)
{
    struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[CPUID_LEAVES_MAX];
    } list = {.header.nent = CPUID_LEAVES_MAX};
    int count = 0;

    if (ioctl(cpu->engine->kvm_fd, KVM_GET_SUPPORTED_CPUID, &list) < 0)
        return -errno;
    for (unsigned i = 0; i < list.header.nent; i++) {
        struct kvm_cpuid_entry2 entry = list.entries[i];
        if (is_hidden(entry.function) || entry.function == 0xd)
            continue;
        take_own_features(&entry);
        force_features(&entry, is_amd(list.entries[0].ebx));
        if (entry.function == 1)
            entry.ecx |= SUPPORTED_X2APIC;
        if (entry.function == KVM_FEATURES_LEAF)
            entry.eax &= KVM_FEATURES;
        entries[count++] = entry;
    }
    return add_xsave(cpu, entries, count);
}

int cpuid_supported(const struct cpu *cpu, struct kvm_cpuid_entry2 *entries)
{
    struct engine *engine = cpu->engine;

    if (engine->supported_cpuid_count == 0) {
        int count = list_supported(cpu, engine->supported_cpuid);
        if (count < 0)
            return count;
        engine->supported_cpuid_count = count;
    }
    memcpy(entries, engine->supported_cpuid,
           (unsigned)engine->supported_cpuid_count * sizeof *entries);
    return engine->supported_cpuid_count;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid_entry2 *entries, unsigned count,
                                           uint32_t function, uint32_t index)
{
    for (unsigned i = 0; i < count; i++) {
        const struct kvm_cpuid_entry2 *entry = &entries[i];
        bool any_index = !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
        if (entry->function == function && (any_index || entry->index == index))
            return entry;
    }
    return NULL;
}

static uint32_t feature(const struct cpu_cpuid *cpuid, uint32_t function, enum cpuid_register reg)
{
    const struct kvm_cpuid_entry2 *entry = find(cpuid->entries, cpuid->count, function, 0);
    return entry ? *register_of((struct kvm_cpuid_entry2 *)entry, reg) : 0;
}

/* CR4 and EFER bits by the feature that they need. */
static void derive_allowed(struct cpu_cpuid *cpuid)
{
    static const struct {
        uint32_t function;
        enum cpuid_register reg;
        uint32_t bit;
        uint64_t cr4;
        uint64_t efer;
    } needs[] = {
        {1, ECX, BIT(26), CR4_OSXSAVE, 0},
        {1, ECX, BIT(17), CR4_PCIDE, 0},
        {7, EBX, BIT(0), CR4_FSGSBASE, 0},
        {7, EBX, BIT(7), CR4_SMEP, 0},
        {7, EBX, BIT(20), CR4_SMAP, 0},
        {7, ECX, BIT(2), CR4_UMIP, 0},
        {0x80000001, EDX, BIT(11), 0, EFER_SCE},
        {0x80000001, EDX, BIT(20), 0, EFER_NXE},
        {0x80000001, EDX, BIT(25), 0, EFER_FFXSR},
        {0x80000001, EDX, BIT(29), 0, EFER_LME | EFER_LMA},
        {0x80000021, EAX, BIT(8), 0, EFER_AIBRSE},
    };
    cpuid->cr4_allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE |
                         CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cpuid->efer_allowed = 0;
    for (unsigned i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (feature(cpuid, needs[i].function, needs[i].reg) & needs[i].bit) {
            cpuid->cr4_allowed |= needs[i].cr4;
            cpuid->efer_allowed |= needs[i].efer;
        }
    }
}

/*
 * KVM checks XCR0, EFER and the timer's mode against the CPUID that it was given: it gets
 * everything that the host supports, with this vCPU's APIC ID.
 */
static int tell_kvm(const struct cpu *cpu)
{
    struct {
        struct kvm_cpuid2 header;
        struct kvm_cpuid_entry2 entries[CPUID_LEAVES_MAX];
    } list = {.header.nent = 0};
    struct kvm_cpuid_entry2 offered[CPUID_LEAVES_MAX];
    const struct cpu_cpuid *cpuid = cpu->cpuid;

    int count = cpuid_supported(cpu, offered);
    if (count < 0)
        return count;
    for (unsigned i = 0; i < cpuid->count; i++) {
        struct kvm_cpuid_entry2 entry = cpuid->entries[i];
        const struct kvm_cpuid_entry2 *full =
            find(offered, (unsigned)count, entry.function, entry.index);
        if (full && (entry.function == 1 || entry.function == 7 || entry.function == 0x80000001)) {
            entry.ecx |= full->ecx;
            entry.edx |= full->edx;
            entry.ebx |= entry.function == 7 ? full->ebx : 0;
        }
        if (entry.function != 0xd)
            list.entries[list.header.nent++] = entry;
    }
    for (int i = 0; i < count && list.header.nent < CPUID_LEAVES_MAX; i++) {
        if (offered[i].function == 0xd)
            list.entries[list.header.nent++] = offered[i];
    }
    return ioctl(cpu->fd, KVM_SET_CPUID2, &list) < 0 ? -errno : 0;
}

int cpuid_set(struct cpu *cpu, const struct kvm_cpuid_entry2 *entries, unsigned count)
{
    struct cpu_cpuid *cpuid = cpu->cpuid;

    if (count > CPUID_LEAVES_MAX)
        return -E2BIG;
    memcpy(cpuid->entries, entries, count * sizeof *entries);
    cpuid->count = count;
    cpuid->is_amd = is_amd(feature(cpuid, 0, EBX));
    uint32_t bits = feature(cpuid, 0x80000008, EAX) & 0xff;
    cpuid->physical_bits = bits >= 32 && bits <= 52 ? bits : 36;
    cpu->engine->reserved_bits = 0x000fffffffffffffull & ~((1ull << cpuid->physical_bits) - 1);
    derive_allowed(cpuid);
    return tell_kvm(cpu);
}

static void set_registers(struct cpu *cpu, const uint32_t registers[4])
{
    cpu->r[REG_RAX] = registers[EAX];
    cpu->r[REG_RBX] = registers[EBX];
    cpu->r[REG_RCX] = registers[ECX];
    cpu->r[REG_RDX] = registers[EDX];
}

/* What the machine's owner has set. */
static void execute_in_kernel(struct cpu *cpu, uint32_t function, uint32_t index)
{
    const struct cpu_cpuid *cpuid = cpu->cpuid;
    const struct kvm_cpuid_entry2 *entry = find(cpuid->entries, cpuid->count, function, index);
    uint32_t registers[4] = {0};

    if (entry) {
        registers[EAX] = entry->eax;
        registers[EBX] = entry->ebx;
        registers[ECX] = entry->ecx;
        registers[EDX] = entry->edx;
    }
    if (entry && function == 1 && cpu->sregs.cr4 & CR4_OSXSAVE)
        registers[ECX] |= LEAF1_OSXSAVE;
    /* The size of the area follows XCR0. */
    if (entry && function == 0xd && index <= 1) {
        uint32_t current[4];
        fpu_cpuid_xsave(cpu, index, current);
        registers[EBX] = current[EBX];
    }
    set_registers(cpu, registers);
}

/* ECX is undefined for leaves without subleaves. */
static bool may_have_subleaves(uint32_t function)
{
    return function > 2 && (function < 0x80000000 || function > 0x80000008);
}

static const struct cpuid_answer *answer_of_processor(struct cpu_cpuid *cpuid, uint32_t function,
                                                      uint32_t index)
{
    for (unsigned i = 0; i < cpuid->answered && i < CPUID_ANSWERS; i++) {
        const struct cpuid_answer *answer = &cpuid->answers[i];
        if (answer->function == function && answer->index == index)
            return answer;
    }
    struct cpuid_answer *answer = &cpuid->answers[cpuid->answered++ % CPUID_ANSWERS];
    uint32_t *registers = answer->registers;
    answer->function = function;
    answer->index = index;
    __cpuid_count(function, index, registers[EAX], registers[EBX], registers[ECX], registers[EDX]);
    return answer;
}

/* What a native run would see: the host's XCR0 and CR4 do not change either. */
static void execute_in_program(struct cpu *cpu, uint32_t function, uint32_t index)
{
    unsigned subleaf = may_have_subleaves(function) ? index : 0;
    set_registers(cpu, answer_of_processor(cpu->cpuid, function, subleaf)->registers);
}

void cpuid_execute(struct cpu *cpu)
{
    uint32_t function = (uint32_t)cpu->r[REG_RAX];
    uint32_t index = (uint32_t)cpu->r[REG_RCX];

    if (cpu->cpl == 3)
        execute_in_program(cpu, function, index);
    else
        execute_in_kernel(cpu, function, index);
}
