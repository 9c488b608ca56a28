/*
 * Translation of hot code to code of the host (README.md, "Translation"). A vCPU's translations,
 * and the memory that they are in: a part for each pool of decoded code. Both it and the number of
 * links are bounded; when either is full, all decoded code of the pool is dropped, with all of its
 * translations.
 */
#ifndef TSVM_PVM_TRANSLATOR_H
#define TSVM_PVM_TRANSLATOR_H

#include <stdbool.h>

#include "cpu.h"
#include "executable.h"

/* Together what the 512 entries for code of a host's second-level TLB reach. */
#define TRANSLATED_KERNEL_BYTES (1792u << 10)
#define TRANSLATED_USER_BYTES (256u << 10)
#define TRANSLATED_BYTES (TRANSLATED_KERNEL_BYTES + TRANSLATED_USER_BYTES)
/* For code that all translations share, before those of the kernel. */
#define TRANSLATED_COMMON_BYTES 2048u
#define TRANSLATED_KERNEL_LINKS 12288u
#define TRANSLATED_USER_LINKS 2048u
#define TRANSLATED_LINKS (TRANSLATED_KERNEL_LINKS + TRANSLATED_USER_LINKS)

/* A jump of a translation to another instruction. */
struct translated_link {
    const uint8_t *code; /* where to, while `expected` is what the CPU has */
    uint64_t expected;   /* of cpu->attention and cpu->generation: none, and the link's */
    int64_t counted; /* instructions to count: `count` less those before the target in its run */
    struct insn *target;  /* the same as `code` */
    uint64_t va;          /* of the target */
    const uint8_t *enter; /* `code` of a target that is not translated */
    uint8_t *direct;      /* operands of a jump that is to be patched; NULL: it uses `code` */
    uint32_t count;       /* executed instructions of the decoded run that the jump leaves */
};

/* Code that all translations share. Instructions and links are passed by number. */
struct translated_common {
    const uint8_t *prologue;    /* loads the pinned registers, and goes on at RAX */
    const uint8_t *side_exit;   /* to the handler of the instruction in RSI */
    const uint8_t *slow_link;   /* of the link in RSI: leaves the interpreter, or binds the link */
    const uint8_t *enter_link;  /* to the target of the link in RSI, which was not translated */
    const uint8_t *direct_link; /* the same, if it was bound; it is not counted yet */
    const uint8_t *enter;       /* to the decoded instruction at RSI, which is not translated */
    const uint8_t *find;        /* to the address in RSI, by a jump that was counted */
    const uint8_t *leave;       /* out of the interpreter, at the address in RSI */
};

/* The translations of a pool of decoded code. */
struct translated_pool {
    uint32_t start, used, end; /* bytes of the memory, from its start */
    uint32_t first_link, next_link, link_end;
    uint64_t flushes; /* of the pool, when the first of these translations was made */
};

struct translator {
    struct executable code;
    struct translated_link *links;
    bool has_common;
    struct translated_common common; /* at the start of the memory */
    struct translated_pool pools[2]; /* [cpl == 3] */
};

/*
 * Gives the CPU a translator, if its engine wants one; sets its counters. Without memory for it,
 * the CPU interprets. translator_destroy() also of one that has none.
 */
void translator_init(struct cpu *cpu);
void translator_destroy(struct cpu *cpu);
/* Gives the memory of translations back, none of which is reachable: the code cache is empty. */
void translator_discard(struct cpu *cpu);
/* From any thread. */
uint64_t translator_resident(const struct cpu *cpu);

/*
 * Makes a translation the handler of the instruction at cpu->rip, which the code cache has decoded
 * at `insn`, if it can be translated. False: the memory is full, and the pool to be emptied.
 */
bool translate(struct cpu *cpu, struct insn *insn);

#endif
