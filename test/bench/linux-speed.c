/*
 * A guest's PID 1 that measures the speed of a kernel and of programs under a VMM. A BEL tells the
 * host that the first program runs. Then it prints a line `speed NAME SECONDS` for each
 * measurement, and finally `speed done`. linux-speed.ts runs it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define DISK "/dev/vda"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void report(const char *name, double start, unsigned count)
{
    printf("speed %s %.12f\n", name, (now() - start) / count);
}

static void fail(const char *what)
{
    printf("speed failed: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the kernel ---- */

static void call_getppid(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        syscall(SYS_getppid);
}

static void measure_system_calls(void)
{
    const unsigned count = 300000;
    call_getppid(1000);
    double start = now();
    call_getppid(count);
    report("getppid", start, count);
}

/* A child that exits with 7, after an exec if requested. */
static void make_child(const char *program)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (program)
            execl(program, program, "child", NULL);
        _exit(7);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
        fail("fork");
}

static void measure_processes(void)
{
    const unsigned forks = 200, execs = 100;
    double start = now();
    for (unsigned i = 0; i < forks; i++)
        make_child(NULL);
    report("fork", start, forks);
    start = now();
    for (unsigned i = 0; i < execs; i++)
        make_child("/init");
    report("exec", start, execs);
}

static void measure_page_faults(void)
{
    const unsigned pages = 8000;
    uint8_t *memory =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;

    if (memory == MAP_FAILED)
        fail("mmap");
    madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
    double start = now();
    for (unsigned i = 0; i < pages; i++)
        memory[i * PAGE] = 1;
    report("fault-anonymous", start, pages);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        start = now();
        for (unsigned i = 0; i < pages; i++)
            memory[i * PAGE]++;
        report("fault-copy", start, pages);
        fflush(stdout);
        _exit(memory[0] != 2);
    }
    if (waitpid(child, &status, 0) != child || status || memory[0] != 1)
        fail("copy on write");
    munmap(memory, pages * PAGE);
}

static void measure_pipes(void)
{
    static uint8_t buffer[65536];
    const unsigned blocks = 1000, rounds = 3000;
    int pipes[2], there[2], back[2], status;
    char byte = 0;

    if (pipe(pipes) || pipe(there) || pipe(back))
        fail("pipe");
    double start = now();
    for (unsigned i = 0; i < blocks; i++) {
        if (write(pipes[1], buffer, sizeof buffer) != sizeof buffer)
            fail("write");
        for (size_t got = 0; got < sizeof buffer;) {
            ssize_t part = read(pipes[0], buffer, sizeof buffer - got);
            if (part <= 0)
                fail("read");
            got += (size_t)part;
        }
    }
    report("pipe-64k", start, blocks);
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < rounds; i++) {
            if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    start = now();
    for (unsigned i = 0; i < rounds; i++) {
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("ping-pong");
    }
    report("ping-pong", start, rounds);
    waitpid(child, &status, 0);
}

/* ---- programs ---- */

static void measure_computing(void)
{
    const unsigned steps = 100000000;
    volatile uint64_t result;
    uint64_t x = 1;
    double start = now();
    for (unsigned i = 0; i < steps; i++) {
        x = x * 3 + 1;
        __asm__ volatile("" : "+r"(x));
    }
    result = x;
    (void)result;
    report("compute", start, steps);
}

__attribute__((target("avx2"))) static void measure_avx(void)
{
    const unsigned steps = 20000000;
    unsigned left = steps;

    if (!__builtin_cpu_supports("avx2"))
        return;
    double start = now();
    __asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n"
                     "vpsrld $25, %%ymm0, %%ymm1\n"
                     "vcvtdq2ps %%ymm1, %%ymm2\n"
                     "1: vpaddd %%ymm0, %%ymm1, %%ymm1\n"
                     "vpxor %%ymm1, %%ymm3, %%ymm3\n"
                     "vmulps %%ymm2, %%ymm2, %%ymm4\n"
                     "vaddps %%ymm4, %%ymm5, %%ymm5\n"
                     "dec %0\n jnz 1b\n vzeroupper"
                     : "+r"(left)
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "cc");
    report("avx", start, steps);
}

/*
 * 32-bit code in the kernel's segment for 32-bit programs. It is entered and left by far jumps,
 * which need no stack. (QEMU 7.2 treats the pushes of a program's far call as the kernel's, which
 * SMAP forbids.)
 */
struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));
struct far_pointer to_32_bit = {.selector = 0x23};
uint64_t stack_of_64_bit;
void enter_32_bit(uint32_t steps);
extern const char leave_32_bit[];
__asm__(".globl enter_32_bit\n"
        "enter_32_bit:\n"
        " push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        " mov %rsp, stack_of_64_bit(%rip)\n mov %edi, %eax\n ljmp *to_32_bit(%rip)\n"
        ".globl leave_32_bit\n"
        "leave_32_bit:\n"
        " mov stack_of_64_bit(%rip), %rsp\n"
        " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static void measure_32_bit(void)
{
    /* 1: imul ebx, ebx, 3; inc ebx; dec eax; jnz 1b; jmp 0x33:leave_32_bit */
    uint8_t code[] = {0x6b, 0xdb, 3, 0x43, 0x48, 0x75, 0xf9, 0xea, 0, 0, 0, 0, 0x33, 0};
    const uint32_t steps = 20000000, back = (uint32_t)(uintptr_t)leave_32_bit;
    uint8_t *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

    if (low == MAP_FAILED)
        fail("mmap");
    memcpy(code + 8, &back, sizeof back);
    memcpy(low, code, sizeof code);
    to_32_bit.offset = (uint32_t)(uintptr_t)low;
    double start = now();
    enter_32_bit(steps);
    report("compute-32", start, steps);
}

/* ---- two processes that only make system calls ---- */

static void measure_parallel(void)
{
    const unsigned count = 200000;
    int status;

    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        return;
    double start = now();
    call_getppid(count);
    double alone = now() - start;
    start = now();
    pid_t child = fork();
    if (child == 0) {
        call_getppid(count);
        _exit(0);
    }
    call_getppid(count);
    waitpid(child, &status, 0);
    printf("speed parallel %.6f\n", 2 * alone / (now() - start));
}

/* ---- the disk ---- */

#define DEPTH 32u
#define READS 32768u
#define WINDOW 128u
#define BLOCK 4096u

static uint64_t random_block(uint64_t blocks)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % blocks;
}

static void submit(aio_context_t context, int fd, uint8_t *buffers, unsigned slot, uint64_t blocks)
{
    static struct iocb requests[DEPTH];
    struct iocb *request = &requests[slot];

    *request = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD,
                             .aio_fildes = (uint32_t)fd,
                             .aio_data = slot,
                             .aio_buf = (uintptr_t)(buffers + slot * BLOCK),
                             .aio_nbytes = BLOCK,
                             .aio_offset = (int64_t)(random_block(blocks) * BLOCK)};
    if (syscall(SYS_io_submit, context, 1, &request) != 1)
        fail("io_submit");
}

static int compare_seconds(const void *a, const void *b)
{
    double first = *(const double *)a, second = *(const double *)b;
    return (first > second) - (first < second);
}

/*
 * The lower quartile of what a read takes in each WINDOW of them. On a host that is not idle, or
 * that has to read some of the disk's file first, a mean is mostly the time of others.
 */
static void measure_random_reads(void)
{
    static double windows[READS / WINDOW];
    unsigned window = 0, counted = 0;
    aio_context_t context = 0;
    struct io_event events[DEPTH];
    int fd = open(DISK, O_RDONLY | O_DIRECT);
    uint8_t *buffers =
        mmap(NULL, DEPTH * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (fd < 0 || syscall(SYS_io_setup, DEPTH, &context))
        fail("io_setup");
    uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / BLOCK;
    double start = now();
    unsigned begun = 0, done = 0;
    for (; begun < DEPTH; begun++)
        submit(context, fd, buffers, begun, blocks);
    while (done < READS) {
        long got = syscall(SYS_io_getevents, context, 1L, (long)DEPTH, events, NULL);
        if (got <= 0)
            fail("io_getevents");
        for (long i = 0; i < got; i++) {
            if (events[i].res != BLOCK)
                fail("read");
            if (begun < READS) {
                submit(context, fd, buffers, (unsigned)events[i].data, blocks);
                begun++;
            }
        }
        done += (unsigned)got;
        if (done - counted >= WINDOW) {
            double end = now();
            windows[window++] = (end - start) / (done - counted);
            start = end;
            counted = done;
        }
    }
    qsort(windows, window, sizeof *windows, compare_seconds);
    printf("speed random-read %.12f\n", windows[window / 4]);
    close(fd);
}

/* The same as `dd bs=64k`. */
static void measure_sequential_reads(void)
{
    static uint8_t buffer[65536];
    const unsigned blocks = 512;
    int fd = open(DISK, O_RDONLY);

    if (fd < 0)
        fail("open " DISK);
    double start = now();
    for (unsigned i = 0; i < blocks; i++) {
        if (read(fd, buffer, sizeof buffer) != sizeof buffer)
            fail("read");
    }
    report("sequential-read", start, blocks);
    close(fd);
}

static void measure_programs(void)
{
    measure_computing();
    measure_avx();
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "child"))
        return 7;
    if (write(STDOUT_FILENO, "\a\n", 2) != 2)
        return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* On the host, without a guest. */
    if (argc > 1 && !strcmp(argv[1], "programs")) {
        measure_programs();
        printf("speed done\n");
        return 0;
    }
    mkdir("/dev", 0755);
    if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
        fail("mount /dev");
    measure_system_calls();
    measure_processes();
    measure_page_faults();
    measure_pipes();
    measure_programs();
    measure_32_bit();
    measure_parallel();
    if (access(DISK, R_OK) == 0) {
        measure_random_reads();
        measure_sequential_reads();
    }
    printf("speed done\n");
    if (getpid() ==
        1) /* a word of the kernel's command line: for machines without a power switch */
        reboot(getenv("speed_resets") ? RB_AUTOBOOT : RB_POWER_OFF);
    return 0;
}
