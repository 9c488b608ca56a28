/*
 * Executes an instruction on this processor with a given register state, as the oracle for the
 * tests of src/pvm/simd*.c. Signals that it raises are caught.
 */
#ifndef TSVM_TEST_ENGINE_SIMD_NATIVE_H
#define TSVM_TEST_ENGINE_SIMD_NATIVE_H

#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define NATIVE_PAGE 4096

struct native {
    uint64_t r[16];
    uint64_t rflags;
    uint64_t code; /* the jump target */
    uint8_t xsave[8192] __attribute__((aligned(64)));
};

struct native native;
uint64_t native_stack;
static sigjmp_buf native_escape;
static volatile int native_signal;
/* MXCSR and status word when the signal was raised. */
static uint32_t native_signal_mxcsr;

void native_enter(void);
extern const char native_return[];

__asm__(".text\n"
        ".globl native_enter\n"
        "native_enter:\n"
        " push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp, native_stack(%rip)\n"
        " mov $-1, %eax\n mov $-1, %edx\n"
        " lea native(%rip), %rbx\n"
        " xrstor64 144+48(%rbx)\n"
        " push 128(%rbx)\n popf\n"
        " mov 0(%rbx), %rax\n mov 8(%rbx), %rcx\n mov 16(%rbx), %rdx\n"
        " mov 32(%rbx), %rsp\n mov 40(%rbx), %rbp\n mov 48(%rbx), %rsi\n mov 56(%rbx), %rdi\n"
        " mov 64(%rbx), %r8\n mov 72(%rbx), %r9\n mov 80(%rbx), %r10\n mov 88(%rbx), %r11\n"
        " mov 96(%rbx), %r12\n mov 104(%rbx), %r13\n mov 112(%rbx), %r14\n"
        " mov 120(%rbx), %r15\n mov 24(%rbx), %rbx\n"
        " jmp *native+136(%rip)\n"
        ".globl native_return\n"
        "native_return:\n"
        " mov %rbx, native+24(%rip)\n"
        " lea native(%rip), %rbx\n"
        " mov %rsp, 32(%rbx)\n"
        " mov native_stack(%rip), %rsp\n"
        " mov %rax, 0(%rbx)\n mov %rcx, 8(%rbx)\n mov %rdx, 16(%rbx)\n"
        " pushf\n pop 128(%rbx)\n"
        " mov %rbp, 40(%rbx)\n mov %rsi, 48(%rbx)\n mov %rdi, 56(%rbx)\n mov %r8, 64(%rbx)\n"
        " mov %r9, 72(%rbx)\n mov %r10, 80(%rbx)\n mov %r11, 88(%rbx)\n mov %r12, 96(%rbx)\n"
        " mov %r13, 104(%rbx)\n mov %r14, 112(%rbx)\n mov %r15, 120(%rbx)\n"
        " mov $-1, %eax\n mov $-1, %edx\n"
        " xsave64 144+48(%rbx)\n"
        " fninit\n ldmxcsr native_mxcsr(%rip)\n vzeroupper\n cld\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
        "native_mxcsr: .long 0x1f80\n"
        ".previous\n");
_Static_assert(__builtin_offsetof(struct native, xsave) == 192, "as the assembly has it");

static void native_caught(int number, siginfo_t *info, void *context)
{
    const ucontext_t *ucontext = context;

    (void)info;
    native_signal = number;
    if (ucontext->uc_mcontext.fpregs)
        native_signal_mxcsr = ucontext->uc_mcontext.fpregs->mxcsr;
    siglongjmp(native_escape, 1);
}

static inline void native_init(void)
{
    static uint8_t stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = native_caught,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

    sigaltstack(&alternate, NULL);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* Executes the instruction in `code`. Returns the signal that it raised, or 0. */
static inline int native_run(uint8_t *code, const uint8_t *bytes, unsigned length)
{
    const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0}; /* jmp *(%rip) */
    uint64_t target = (uint64_t)(uintptr_t)native_return;

    memcpy(code, bytes, length);
    memcpy(code + length, jump, sizeof jump);
    memcpy(code + length + sizeof jump, &target, sizeof target);
    native.code = (uint64_t)(uintptr_t)code;
    native_signal = 0;
    if (!sigsetjmp(native_escape, 1))
        native_enter();
    return native_signal;
}

#endif
