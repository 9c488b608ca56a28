/* Vector, mask and x87 registers that must survive whatever happens meanwhile. */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "soak.h"

#define EACH_LOW(DO)                                                                               \
    DO(0)                                                                                          \
    DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define EACH_HIGH(DO)                                                                              \
    DO(16)                                                                                         \
    DO(17)                                                                                         \
    DO(18)                                                                                         \
    DO(19) DO(20) DO(21) DO(22) DO(23) DO(24) DO(25) DO(26) DO(27) DO(28) DO(29) DO(30) DO(31)
#define EACH_MASK(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define LOW_CLOBBERS                                                                               \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

/* The state, 64 bytes for each vector register. */
struct state {
    uint8_t vectors[32][64];
    uint64_t masks[8];
    double x87[4];
    uint32_t mxcsr;
    uint16_t fcw;
};

/*
 * Between loading and storing: `spin` steps of a loop, then a system call (if `number` is not
 * negative), then the loop again.
 */
#define BETWEEN                                                                                    \
    "mov %[spin], %%ecx\n1: dec %%ecx\n jnz 1b\n"                                                  \
    "mov %[number], %%eax\n test %%eax, %%eax\n js 2f\n syscall\n2:\n"                             \
    "mov %[spin], %%ecx\n3: dec %%ecx\n jnz 3b\n"
#define OPERANDS                                                                                   \
    : : [in] "r"(in), [out] "r"(out), [spin] "r"(spin), [number] "r"(number)                       \
    : "rax", "rcx", "r11", "memory", LOW_CLOBBERS
#define LOAD_SSE(n) "movups " #n "*64(%[in]), %%xmm" #n "\n"
#define STORE_SSE(n) "movups %%xmm" #n ", " #n "*64(%[out])\n"
#define LOAD_AVX(n) "vmovups " #n "*64(%[in]), %%ymm" #n "\n"
#define STORE_AVX(n) "vmovups %%ymm" #n ", " #n "*64(%[out])\n"
#define LOAD_AVX512(n) "vmovups " #n "*64(%[in]), %%zmm" #n "\n"
#define STORE_AVX512(n) "vmovups %%zmm" #n ", " #n "*64(%[out])\n"
#define LOAD_MASK(n) "kmovw 2048+" #n "*8(%[in]), %%k" #n "\n"
#define STORE_MASK(n) "kmovw %%k" #n ", 2048+" #n "*8(%[out])\n"
#define LOAD_X87                                                                                   \
    "fninit\n fldcw 2148(%[in])\n fldl 2136(%[in])\n fldl 2128(%[in])\n fldl 2120(%[in])\n"        \
    "fldl 2112(%[in])\n ldmxcsr 2144(%[in])\n"
#define STORE_X87                                                                                  \
    "fstpl 2112(%[out])\n fstpl 2120(%[out])\n fstpl 2128(%[out])\n fstpl 2136(%[out])\n"          \
    "stmxcsr 2144(%[out])\n fnstcw 2148(%[out])\n fninit\n"
_Static_assert(offsetof(struct state, masks) == 2048 && offsetof(struct state, x87) == 2112 &&
                   offsetof(struct state, mxcsr) == 2144 && offsetof(struct state, fcw) == 2148,
               "as the assembly has it");

static void pass_sse(const struct state *in, struct state *out, unsigned spin, int number)
{
    __asm__ volatile(LOAD_X87 EACH_LOW(LOAD_SSE) BETWEEN EACH_LOW(STORE_SSE) STORE_X87 OPERANDS);
}

static void pass_avx(const struct state *in, struct state *out, unsigned spin, int number)
{
    __asm__ volatile(LOAD_X87 EACH_LOW(LOAD_AVX) BETWEEN EACH_LOW(STORE_AVX) STORE_X87
                     "vzeroupper\n" OPERANDS);
}

static void pass_avx512(const struct state *in, struct state *out, unsigned spin, int number)
{
    __asm__ volatile(LOAD_X87 EACH_LOW(LOAD_AVX512) EACH_HIGH(LOAD_AVX512) EACH_MASK(LOAD_MASK)
                         BETWEEN EACH_LOW(STORE_AVX512) EACH_HIGH(STORE_AVX512)
                             EACH_MASK(STORE_MASK) STORE_X87 "vzeroupper\n" OPERANDS);
}

static void fill(struct state *state, unsigned seed)
{
    for (size_t i = 0; i < sizeof state->vectors; i++)
        ((uint8_t *)state->vectors)[i] = (uint8_t)(seed * 131 + i * 7 + i / 64);
    for (unsigned i = 0; i < 8; i++)
        state->masks[i] = (seed * 0x1357 + i * 0x1111) & 0xffff;
    for (unsigned i = 0; i < 4; i++)
        state->x87[i] = seed + i + 0.5;
    /* Rounding modes differ; flags too. */
    state->mxcsr = 0x1f80 | (seed & 3) << 13 | (seed & 0x3f);
    state->fcw = (uint16_t)(0x37f | (seed & 3) << 10);
}

static bool same(const struct state *a, const struct state *b, size_t vector_bytes, bool high)
{
    for (unsigned i = 0; i < (high ? 32u : 16u); i++) {
        if (memcmp(a->vectors[i], b->vectors[i], vector_bytes))
            return false;
    }
    for (unsigned i = 1; i < 8 && high; i++) {
        if (a->masks[i] != (b->masks[i] & 0xffff))
            return false;
    }
    return !memcmp(a->x87, b->x87, sizeof a->x87) && a->mxcsr == b->mxcsr && a->fcw == b->fcw;
}

/* Registers survive a loop and a system call. */
static bool passes(unsigned seed, unsigned spin, int number)
{
    static struct state in, out;

    memset(&out, 0, sizeof out);
    fill(&in, seed);
    if (soak_has_avx512()) {
        pass_avx512(&in, &out, spin, number);
        return same(&in, &out, 64, true);
    }
    if (soak_has_avx()) {
        pass_avx(&in, &out, spin, number);
        return same(&in, &out, 32, false);
    }
    pass_sse(&in, &out, spin, number);
    return same(&in, &out, 16, false);
}

#define TASKS 4
#define PASSES 100

static int task(unsigned number)
{
    for (unsigned i = 0; i < PASSES; i++) {
        if (!passes(number * 1000 + i, i % 4 ? 20000 : 1 + i, SYS_sched_yield))
            return 1;
    }
    return 0;
}

/* Tasks that take turns, and a child that starts with its parent's registers. */
void soak_vectors(void)
{
    pid_t tasks[TASKS];

    for (unsigned i = 0; i < TASKS; i++) {
        tasks[i] = fork();
        if (tasks[i] == 0)
            _exit(task(i));
    }
    for (unsigned i = 0; i < TASKS; i++)
        CHECK(soak_wait(tasks[i]) == 0);
    CHECK(passes(7, 1, SYS_getppid));
    CHECK(passes(8, LONG, -1));
}

static volatile sig_atomic_t handled;
static void clobber(int number)
{
    (void)number;
    static struct state in, out;

    /* Other values, another rounding mode, a full x87 stack. */
    fill(&in, 0xabc + (unsigned)handled);
    if (soak_has_avx512())
        pass_avx512(&in, &out, 1, -1);
    else if (soak_has_avx())
        pass_avx(&in, &out, 1, -1);
    else
        pass_sse(&in, &out, 1, -1);
    __asm__ volatile("fninit\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n fldpi\n");
    handled++;
}

/* A signal handler may use all registers; the interrupted code gets its own back. */
void soak_vectors_in_signals(void)
{
    struct sigaction action = {.sa_handler = clobber}, before;
    const pid_t self = getpid();

    sigaction(SIGUSR1, &action, &before);
    handled = 0;
    for (unsigned i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            kill(self, SIGUSR1);
            _exit(0);
        }
        for (unsigned k = 0; k < 20; k++)
            CHECK(passes(i * 20 + k, i & 1 ? 5000 : 50, k & 1 ? SYS_sched_yield : -1));
        CHECK(soak_wait(child) == 0);
    }
    CHECK(handled > 0);
    sigaction(SIGUSR1, &before, NULL);
}
