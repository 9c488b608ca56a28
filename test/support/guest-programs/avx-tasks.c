/*
 * Two concurrent tasks fill the AVX registers with different patterns and make system calls in
 * between, which shows if the kernel loses or leaks a register at a task switch.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REGISTERS 16
#define SECONDS 3

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

#define EACH(DO)                                                                                   \
    DO(0)                                                                                          \
    DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define LOAD(n) "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n"
#define CLOBBER(n) , "ymm" #n

/* Loads all registers, lets the other task run (sched_yield), and stores them. */
static void round_trip(const uint8_t *in, uint8_t *out)
{
    long number = 24;
    __asm__ volatile(EACH(LOAD) "syscall\n" EACH(STORE)
                     : "+a"(number)
                     : [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "memory" EACH(CLOBBER));
}

static int task(unsigned seed)
{
    uint8_t in[REGISTERS * 32], out[REGISTERS * 32];
    unsigned rounds = 0;
    for (double end = now() + SECONDS; now() < end; rounds++) {
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = (uint8_t)(seed * 131 + i * 7 + rounds);
        round_trip(in, out);
        if (memcmp(in, out, sizeof in) != 0)
            return 1;
    }
    return rounds == 0;
}

int main(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(task(1));
    int mine = task(2);
    int status = 0;
    waitpid(child, &status, 0);
    puts(mine == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "avx tasks passed"
                                                                    : "avx tasks failed");
    return 0;
}
