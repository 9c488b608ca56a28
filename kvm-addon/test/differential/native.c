#include "native.h"

#include <asm/ldt.h>
#include <asm/prctl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "../../src/pvm/arch.h"

/* Linux's selectors for user code. */
#define SELECTOR_CODE32 0x23
#define SELECTOR_CODE64 0x33
/* The way back from 32-bit code: a far jump to 64-bit code, which knows the 64-bit address. */
#define GATE_BASE 0x38000000u

const uint8_t *native_data;
static uint8_t *data_alias;
uint8_t *native_code;
uint64_t native_fs_base;
static uint16_t gs_selector;
static sigjmp_buf fault_return;

/* For the asm code: the state, the caller's stack, and the jump target. */
struct state native_state;
uint64_t native_stack;
struct __attribute__((packed)) {
    uint32_t offset;
    uint16_t selector;
} native_far = {.selector = SELECTOR_CODE32};
uint64_t native_target;
uint16_t native_gs;

void native_enter(void);
void native_enter32(void);
void native_exit(void);

#define AT(n) "native_state+8*" #n "(%rip)"
#define LOAD_REGISTERS                                                                                                                    \
    "    mov " AT(                                                                                                                        \
        16) ", %rax\n"                                                                                                                    \
            "    push %rax\n"                                                                                                             \
            "    popf\n"                                                                                                                  \
            "    mov " AT(                                                                                                                \
                0) ", %rax\n"                                                                                                             \
                   "    mov " AT(                                                                                                         \
                       1) ", %rcx\n"                                                                                                      \
                          "    mov " AT(                                                                                                  \
                              2) ", %rdx\n"                                                                                               \
                                 "    mov " AT(                                                                                           \
                                     3) ", %rbx\n"                                                                                        \
                                        "    mov " AT(                                                                                    \
                                            5) ", %rbp\n"                                                                                 \
                                               "    mov " AT(                                                                             \
                                                   6) ", %rsi\n"                                                                          \
                                                      "    mov " AT(                                                                      \
                                                          7) ", %rdi\n"                                                                   \
                                                             "    mov " AT(                                                               \
                                                                 8) ", %r8\n"                                                             \
                                                                    "    mov " AT(                                                        \
                                                                        9) ", %r9\n"                                                      \
                                                                           "    mov " AT(                                                 \
                                                                               10) ", %r10\n"                                             \
                                                                                   "    mov " AT(                                         \
                                                                                       11) ", "                                           \
                                                                                           "%r11"                                         \
                                                                                           "\n"                                           \
                                                                                           "    "                                         \
                                                                                           "mov"                                          \
                                                                                           " " AT(                                        \
                                                                                               12) ", %r12\n"                             \
                                                                                                   "    mov " AT(                         \
                                                                                                       13) ", %r13\n"                     \
                                                                                                           "    mov " AT(                 \
                                                                                                               14) ", %r14\n"             \
                                                                                                                   "    mov " AT(         \
                                                                                                                       15) ", %r15\n"     \
                                                                                                                           "    mov " AT( \
                                                                                                                               4) ", %rsp\n"
#define SAVE_CALLER                                                                                \
    "    push %rbx\n"                                                                              \
    "    push %rbp\n"                                                                              \
    "    push %r12\n"                                                                              \
    "    push %r13\n"                                                                              \
    "    push %r14\n"                                                                              \
    "    push %r15\n"                                                                              \
    "    mov %rsp, native_stack(%rip)\n"

asm(".pushsection .text\n"
    ".globl native_enter, native_enter32, native_exit\n"
    "native_enter:\n" SAVE_CALLER LOAD_REGISTERS "    jmp *native_target(%rip)\n"
    "native_enter32:\n" SAVE_CALLER "    mov $0x2b, %eax\n"
    "    mov %eax, %ds\n"
    "    mov %eax, %es\n"
    "    mov native_gs(%rip), %eax\n"
    "    mov %eax, %gs\n" LOAD_REGISTERS "    ljmp *native_far(%rip)\n"
    "native_exit:\n"
    "    mov %rsp, " AT(
        4) "\n"
           "    mov native_stack(%rip), %rsp\n"
           "    mov %rax, " AT(
               0) "\n"
                  "    pushf\n"
                  "    pop %rax\n"
                  "    mov %rax, " AT(
                      16) "\n"
                          "    mov %rcx, " AT(
                              1) "\n"
                                 "    mov %rdx, " AT(
                                     2) "\n"
                                        "    mov %rbx, " AT(
                                            3) "\n"
                                               "    mov %rbp, " AT(
                                                   5) "\n"
                                                      "    mov %rsi, " AT(
                                                          6) "\n"
                                                             "    mov %rdi, " AT(
                                                                 7) "\n"
                                                                    "    mov %r8, " AT(
                                                                        8) "\n"
                                                                           "    mov %r9, " AT(
                                                                               9) "\n"
                                                                                  "    mov "
                                                                                  "%r10, " AT(
                                                                                      10) "\n"
                                                                                          "    mov "
                                                                                          "%r11,"
                                                                                          " " AT(
                                                                                              11) "\n"
                                                                                                  "    mov %r12, " AT(
                                                                                                      12) "\n"
                                                                                                          "    mov %r13, " AT(
                                                                                                              13) "\n"
                                                                                                                  "    mov %r14, " AT(
                                                                                                                      14) "\n"
                                                                                                                          "    mov %r15, " AT(
                                                                                                                              15) "\n"
                                                                                                                                  "    cld\n"
                                                                                                                                  "    pop %r15\n"
                                                                                                                                  "    pop %r14\n"
                                                                                                                                  "    pop %r13\n"
                                                                                                                                  "    pop %r12\n"
                                                                                                                                  "    pop %rbp\n"
                                                                                                                                  "    pop %rbx\n"
                                                                                                                                  "    ret\n"
                                                                                                                                  ".popsection\n");

static void take_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                   REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                   REG_R12, REG_R13, REG_R14, REG_R15};
    const greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;
    for (unsigned i = 0; i < 16; i++)
        native_state.r[i] = (uint64_t)gregs[places[i]];
    native_state.rflags = (uint64_t)gregs[REG_EFL];
    native_state.rip = (uint64_t)gregs[REG_RIP];
    native_state.faulted = true;
    native_state.vector = (unsigned)gregs[REG_TRAPNO];
    native_state.error = (uint64_t)gregs[REG_ERR];
    native_state.address = (uint64_t)gregs[REG_CR2];
    /* Linux reports a present page for each of the kernel's addresses, and for the last page of the
     * programs'. */
    if (native_state.vector == VECTOR_PF && native_state.address >= 0x7ffffffff000)
        native_state.error &= ~(uint64_t)PF_PRESENT;
    siglongjmp(fault_return, 1);
}

static void *map_at(uint64_t address, size_t size, int protection, int fd)
{
    void *place = mmap((void *)address, size, protection,
                       (fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS) |
                           (address ? MAP_FIXED_NOREPLACE : 0),
                       fd, 0);
    return place == MAP_FAILED ? NULL : place;
}

/* Mapped twice: for the programs, and for writing to read-only pages. */
static bool map_data(void)
{
    int fd = memfd_create("differential", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, DATA_SIZE) != 0)
        return false;
    uint8_t *data = map_at(DATA_BASE, DATA_SIZE, PROT_READ | PROT_WRITE, fd);
    data_alias = map_at(0, DATA_SIZE, PROT_READ | PROT_WRITE, fd);
    close(fd);
    native_data = data;
    if (!data || !data_alias || mprotect(data + DATA_READ_ONLY * PAGE, PAGE, PROT_READ) != 0)
        return false;
    /* Populated from the start, because the error codes of faults show it. */
    (void)*(volatile uint8_t *)(data + DATA_READ_ONLY * PAGE);
    return true;
}

void native_write(unsigned offset, uint64_t word)
{
    memcpy(data_alias + offset, &word, 8);
}

/* A segment of the whole lower 4 GiB for GS in 32-bit code, with the base that GS has in 64-bit. */
static bool make_segments(void)
{
    struct user_desc segment = {.base_addr = NATIVE_GS_BASE,
                                .limit = 0xfffff,
                                .seg_32bit = 1,
                                .limit_in_pages = 1,
                                .useable = 1};
    if (syscall(SYS_modify_ldt, 1, &segment, sizeof(segment)) != 0)
        return false;
    gs_selector = 7;
    return syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)NATIVE_GS_BASE) == 0 &&
           syscall(SYS_arch_prctl, ARCH_GET_FS, &native_fs_base) == 0;
}

static void make_gate(uint8_t *gate)
{
    uint32_t wide = GATE_BASE + 16;
    uint64_t exit = (uint64_t)native_exit;
    gate[0] = 0xea; /* jmp 0x33:wide */
    memcpy(gate + 1, &wide, 4);
    gate[5] = SELECTOR_CODE64;
    memcpy(gate + 16, "\xff\x25\0\0\0\0", 6); /* jmp *0(%rip) */
    memcpy(gate + 22, &exit, 8);
}

static bool take_faults(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_sigaction = take_fault,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    if (!stack.ss_sp || sigaltstack(&stack, NULL) != 0)
        return false;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        if (sigaction(signals[i], &action, NULL) != 0)
            return false;
    return true;
}

bool native_init(void)
{
    int all = PROT_READ | PROT_WRITE | PROT_EXEC;
    native_code = map_at(CODE_BASE, CODE_PAGES * PAGE, all, -1);
    uint8_t *gate = map_at(GATE_BASE, PAGE, all, -1);
    if (!map_data() || !native_code || !gate) {
        fprintf(stderr, "The pages for native code are taken.\n");
        return false;
    }
    make_gate(gate);
    if (!make_segments() || !take_faults()) {
        perror("No segments or signals for native code");
        return false;
    }
    return true;
}

unsigned native_end(uint8_t *code, bool compat)
{
    if (compat) {
        uint32_t gate = GATE_BASE;
        code[0] = 0xe9;
        gate -= (uint32_t)(uintptr_t)code + 5;
        memcpy(code + 1, &gate, 4);
        return 5;
    }
    uint64_t exit = (uint64_t)native_exit;
    memcpy(code, "\xff\x25\0\0\0\0", 6);
    memcpy(code + 6, &exit, 8);
    return 14;
}

uint64_t native_end_address(bool compat)
{
    return compat ? GATE_BASE : (uint64_t)native_exit;
}

void native_run(struct state *state, bool compat)
{
    native_state = *state;
    native_state.faulted = false;
    native_target = state->rip;
    native_far.offset = (uint32_t)state->rip;
    native_gs = gs_selector;
    if (sigsetjmp(fault_return, 0) == 0) {
        if (compat)
            native_enter32();
        else
            native_enter();
        native_state.rip = native_end_address(compat);
    }
    asm volatile("cld");
    if (compat)
        syscall(SYS_arch_prctl, ARCH_SET_GS, (unsigned long)NATIVE_GS_BASE);
    *state = native_state;
}
