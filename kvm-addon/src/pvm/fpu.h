/*
 * The guest's x87, SSE and AVX state for instructions that are interpreted. It lives in KVM, and is
 * fetched here when an interpreted instruction first uses it after a KVM run, and handed back
 * before the next if it changed.
 */
#ifndef TSVM_PVM_FPU_H
#define TSVM_PVM_FPU_H

#include "cpu.h"

/* Bytes of the largest XSAVE image in standard format that KVM_GET_XSAVE2 gives us. */
#define FPU_IMAGE_BYTES 4096

struct cpu_fpu {
    uint8_t image[FPU_IMAGE_BYTES] __attribute__((aligned(64)));
    bool valid; /* `image` is the guest's state, and KVM's is stale if `dirty` */
    bool dirty;
    uint64_t xcr0;
};

/* Makes `image` valid. */
void fpu_fetch(struct cpu *cpu);
/* Hands a changed image to KVM; the image is not valid afterwards. Before each KVM_RUN that uses
 * it. */
void fpu_release(struct cpu *cpu);

/*
 * Instructions of the FPU, SSE and AVX families, decoded by simd_decode(). `insn` gets a handler;
 * false: none of these. Arguments as decode()'s; `bytes` start at the instruction's first prefix.
 */
bool simd_decode(const uint8_t *bytes, unsigned available, bool compat, struct insn *insn,
                 unsigned *length);

/* FXSAVE, FXRSTOR, XSAVE*, XRSTOR*, LDMXCSR, STMXCSR, FNINIT, FNSTCW … of system use: fpu.c. */
enum fpu_operation {
    FPU_FXSAVE,
    FPU_FXRSTOR,
    FPU_XSAVE,
    FPU_XSAVEOPT,
    FPU_XSAVEC,
    FPU_XSAVES,
    FPU_XRSTOR,
    FPU_XRSTORS,
    FPU_LDMXCSR,
    FPU_STMXCSR,
    FPU_FNINIT,
    FPU_FNCLEX,
    FPU_FNSTCW,
    FPU_FLDCW,
    FPU_FNSTSW,
    FPU_FWAIT,
    FPU_XGETBV,
    FPU_XSETBV,
    FPU_RDPKRU,
    FPU_WRPKRU,
};
void fpu_execute(struct cpu *cpu, struct insn *insn, enum fpu_operation operation, uint64_t va);

#endif
