/* The state of a vCPU run by the engine. Owned by its thread, except for fields marked shared. */
#ifndef TSVM_PVM_CPU_H
#define TSVM_PVM_CPU_H

#include <linux/kvm.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

#include "insn.h"

#define PAGE_SIZE 4096ull
#define PAGE_OFFSET 4095ull
#define PAGE_BASE (~PAGE_OFFSET)

/* Indices into the register file: the processor's encoding, then two pseudo-registers. */
enum cpu_register {
    REG_RAX,
    REG_RCX,
    REG_RDX,
    REG_RBX,
    REG_RSP,
    REG_RBP,
    REG_RSI,
    REG_RDI,
    REG_R8,
    REG_R9,
    REG_R10,
    REG_R11,
    REG_R12,
    REG_R13,
    REG_R14,
    REG_R15,
    REG_ZERO, /* always 0: operands without a base or an index */
    REG_PAGE, /* virtual address of the current code page: RIP = r[REG_PAGE] + insn_offset() */
    CPU_REGISTERS,
};

/* Indices of segment_base. Other segments have base 0, or the instruction is left to KVM. */
enum cpu_segment_base { BASE_NONE, BASE_FS, BASE_GS, CPU_SEGMENT_BASES };

/*
 * Which accesses a TLB serves. Supervisor accesses to user pages need EFLAGS.AC where CR4.SMAP is
 * set (SDM 3A 4.6.1), so STAC and CLAC choose between two TLBs.
 */
enum tlb_mode { TLB_SUPERVISOR, TLB_USER, TLB_SUPERVISOR_AC, TLB_MODES };

#define TLB_ENTRIES 4096
#define CODE_TLB_ENTRIES 512
/*
 * The tag of an empty entry, before tlb_no_tag() adapts it to its slot: translated code compares
 * only the upper 52 bits, which must be those of no page of the slot.
 */
#define TLB_NO_TAG (~0ull)

struct tlb_entry {
    uint64_t read;  /* the page's virtual address if it may be read, else tlb_no_tag() */
    uint64_t write; /* the same for writes: dirty bit set, neither code nor a page table */
    uint8_t *page;  /* host address of the page; always inside guest memory, valid or not */
    uint32_t span;  /* size in bytes of the guest's page that contains this one */
    bool global;    /* a load of CR3 does not drop it */
};

struct code_page;
struct code_tlb_entry {
    uint64_t tag; /* virtual address of the page */
    struct code_page *page;
};

/*
 * The slots of a TLB that were filled since its last flush of non-global entries, so that a switch
 * of address spaces need not visit all. `count` over FILLS_MAX: too many to list.
 */
#define FILLS_MAX 127
struct fills {
    uint16_t count;
    uint16_t slots[FILLS_MAX];
};

static inline void fills_note(struct fills *fills, unsigned slot)
{
    if (fills->count < FILLS_MAX)
        fills->slots[fills->count] = (uint16_t)slot;
    if (fills->count <= FILLS_MAX)
        fills->count++;
}

/* Which large pages the TLBs may hold parts of, by hashes of their addresses (large_pages.h). */
#define LARGE_PAGE_BITS 2048u
struct large_pages {
    uint64_t of_2m[LARGE_PAGE_BITS / 64];
    uint64_t of_1g;
};

struct code_cache;
struct engine;
struct vcpu;
struct vcpu_debug;

/* A recent CALL, so that its RET needs no lookup. */
struct return_entry {
    uint64_t va;   /* return address */
    uint64_t page; /* REG_PAGE of the call, which may end its page */
    struct insn *insn;
    uint32_t generation;
};
#define RETURN_STACK_ENTRIES 16

/* Counters of the jumps that lead to an instruction, by a hash of its address (heat.h). */
#define HEAT_SLOTS 4096u

/*
 * Which of DR0 to DR3 are set for what (breakpoints.h), and those hit by the current instruction.
 */
struct cpu_breakpoints {
    uint8_t execution;
    uint8_t access;
    uint8_t hits;
    bool of_programs;                  /* in the lower half */
    const struct vcpu_debug *debugger; /* what a debugger has set, or NULL */
};

/* Why the interpreter returned; see interpret(). */
enum interpreted {
    INTERPRETED_ATTENTION =
        1, /* cpu.attention is set or the budget is used up; rip is the next instruction */
    INTERPRETED_EXCEPTION, /* cpu.exception is to be delivered */
    INTERPRETED_ONCE,      /* execute the instruction at rip alone, by interpret_once() */
    INTERPRETED_STEP,      /* KVM has to execute the instruction at rip */
    INTERPRETED_NATIVE,    /* CPL 3: the instruction at rip, and what follows, runs natively */
    INTERPRETED_HALT,      /* HLT was executed; rip is after it */
    INTERPRETED_STOPPED,   /* the order to stop aborted a device access; rip is at it */
};

struct cpu_exception {
    uint8_t vector;
    bool has_error;
    bool software;  /* INT n, INT3, INTO: rip is after the instruction, gate DPL is checked */
    bool is_fault;  /* a #DB before the instruction, not after it */
    uint8_t length; /* of the instruction, when `software` */
    uint32_t error;
    uint64_t address; /* CR2 of a #PF; DR6 bits of a #DB */
};

/* cpu.attention: reasons to leave the interpreter. Set by any thread. */
enum cpu_attention {
    ATTENTION_INTERRUPT = 1 << 0, /* check the interrupt controllers */
    ATTENTION_REQUESTS = 1 << 1,  /* requests of other vCPUs are pending (safepoint.h) */
    ATTENTION_ORDER = 1 << 2,     /* the order to park or stop was given */
    ATTENTION_RESET = 1 << 3,     /* INIT was sent to this vCPU */
    ATTENTION_ZAPS = 1 << 4,      /* zaps must be executed (tables.h) before anything else */
    ATTENTION_SET = 1 << 31,      /* set with each of them: makes the field negative */
};

/* What translated code uses most is in the first 256 bytes, which it reaches by short offsets. */
struct cpu {
    uint64_t r[CPU_REGISTERS];
    uint64_t segment_base[CPU_SEGMENT_BASES];
    uint16_t status; /* status flags as LAHF (high byte) and SETO (low byte, bit 0) leave them */
    bool compat;     /* CS.L is 0: 32-bit code */
    uint8_t cpl;
    int32_t budget;                  /* taken jumps until the interpreter returns */
    int32_t attention;               /* enum cpu_attention; atomic, shared */
    uint32_t generation;             /* of the code TLB; chained jumps are valid until it changes */
    struct tlb_entry *tlb;           /* that of the current mode */
    struct code_tlb_entry *code_tlb; /* [cpl == 3] */
    uint64_t executed;               /* instructions since the last change of CPL */
    uint64_t rip;                    /* valid outside handlers */
    uint64_t rflags;                 /* without the six status flags; bit 1 set */
    const uint8_t *translated;       /* the translator's code */
    uint32_t return_top;
    struct return_entry returns[RETURN_STACK_ENTRIES];

    /* The guest's own view. FS and GS bases are in segment_base; CR8 and APIC base are KVM's. */
    struct kvm_sregs sregs;
    struct kvm_debugregs debug;     /* breakpoints_changed() when it changes */
    struct cpu_exception exception; /* of INTERPRETED_EXCEPTION */
    uint8_t interrupt_shadow; /* of STI or MOV SS: no interrupt before the next instruction ends */
    /*
     * An interrupt is pending and RFLAGS.IF is clear: an instruction that sets it ends the run. Set
     * by run.c.
     */
    bool interrupt_waits;
    bool once;        /* interpret_once() runs, or an exception is delivered */
    bool nmi_blocked; /* from the delivery of an NMI to the next IRET */
    uint32_t spins;   /* PAUSEs executed: if it grows, the vCPU is in a spin loop */
    jmp_buf leave;    /* see cpu_leave() */

    uint32_t generations[2]; /* [cpl == 3] */
    struct tlb_entry tlbs[TLB_MODES][TLB_ENTRIES];
    /* The frame, in 32 bits, that an entry's write tag was last set for: tlb_set_write(). */
    uint32_t written[TLB_MODES][TLB_ENTRIES];
    struct code_tlb_entry code_tlbs[2][CODE_TLB_ENTRIES];
    struct fills tlb_fills[TLB_MODES]; /* with pages that are not global */
    struct fills code_tlb_fills[2];
    struct large_pages large_pages[2][2]; /* that they may hold parts of: [va >> 63][global] */
    struct code_cache *code;
    struct translator *translator; /* translator.h; NULL: nothing is translated */
    uint8_t heat[HEAT_SLOTS];
    bool hot; /* the interpreter was left because the instruction at rip is to be translated */

    unsigned index;
    struct engine *engine;
    int fd; /* of the KVM vCPU */
    struct kvm_run *run;
    struct vcpu *vcpu;
    bool in_kvm; /* the architectural state is in KVM, not in this structure (state.h) */
    struct cpu_breakpoints breakpoints;
    struct cpu_loop *loop;             /* loop.h */
    struct cpu_interrupts *interrupts; /* interrupts.h */
    struct moderation *moderation;     /* moderation.h */
    struct cpu_cpuid *cpuid;           /* cpuid.h */
    struct cpu_msrs *msrs;             /* msrs.h */
    struct cpu_fpu *fpu;               /* fpu.h */
    struct cpu_requests *requests;     /* safepoint.h */
    struct cpu_counters *counters;     /* counters.h */
};

#define RFLAGS_STATUS 0x8d5u /* CF PF AF ZF SF OF */
#define RFLAGS_CF 0x1u
#define RFLAGS_TF 0x100u
#define RFLAGS_IF 0x200u
#define RFLAGS_DF 0x400u
#define RFLAGS_IOPL 0x3000u
#define RFLAGS_NT 0x4000u
#define RFLAGS_RF 0x10000u
#define RFLAGS_VM 0x20000u
#define RFLAGS_AC 0x40000u

/* A register operand by the byte offset that the decoder gave. */
#define CPU_REG(type, cpu, offset) (*(type *)((uint8_t *)(cpu) + (offset)))

/* The status flags that LAHF stores; OF is bit 0 of the result of SETO. */
#define STATUS_LAHF 0xd5u

static inline uint64_t cpu_rflags(const struct cpu *cpu)
{
    uint64_t status = cpu->status;
    return cpu->rflags | (status >> 8 & STATUS_LAHF) | (status & 1) << 11 | 2;
}

static inline void cpu_set_rflags(struct cpu *cpu, uint64_t rflags)
{
    /* Bit 1 of the flags, 9 of AH:AL, is always set. */
    cpu->status = (uint16_t)((rflags & STATUS_LAHF) << 8 | 0x200 | (rflags >> 11 & 1));
    cpu->rflags = (rflags & ~(uint64_t)RFLAGS_STATUS) | 2;
}

/* Call after a change of RFLAGS.AC or CR4.SMAP. */
void cpu_choose_tlb(struct cpu *cpu);

/*
 * Ways out of a handler, however deep. `insn` is the executing instruction, which sets cpu->rip,
 * or NULL where rip is right already.
 */
_Noreturn void cpu_leave(struct cpu *cpu, const struct insn *insn, enum interpreted why);
_Noreturn void cpu_raise(struct cpu *cpu, const struct insn *insn, unsigned vector);
_Noreturn void cpu_raise_error(struct cpu *cpu, const struct insn *insn, unsigned vector,
                               uint32_t error);
_Noreturn void cpu_raise_page_fault(struct cpu *cpu, const struct insn *insn, uint64_t va,
                                    uint32_t error);

/* Asks a vCPU to leave the interpreter soon. From any thread. */
static inline void cpu_attract(struct cpu *cpu, enum cpu_attention why)
{
    __atomic_fetch_or(&cpu->attention, (int32_t)((uint32_t)why | 1u << 31), __ATOMIC_SEQ_CST);
}

/* Clears the reasons that are being handled. */
static inline void cpu_attended(struct cpu *cpu, uint32_t reasons)
{
    int32_t old = __atomic_load_n(&cpu->attention, __ATOMIC_SEQ_CST), rest;
    do {
        rest = (int32_t)((uint32_t)old & ~reasons);
        if (rest == (int32_t)(1u << 31))
            rest = 0;
    } while (!__atomic_compare_exchange_n(&cpu->attention, &old, rest, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST));
}

#endif
