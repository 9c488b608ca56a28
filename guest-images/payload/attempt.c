#include "attempt.h"

#include <stdbool.h>

#include "interrupts.h"

#define STACK_SIZE 4096
#define IST_OFFSET 0x24 /* of IST1 in a task state segment */

void attempt_call(attempt_function *function, uint64_t argument);
void attempt_call_cpl3(uint64_t rip, uint64_t rsp, uint64_t rdi);
extern const char attempt_return[];
extern uint8_t task_state_segments[];

static uint8_t stack[STACK_SIZE] __attribute__((aligned(16)));
volatile bool attempt_under_way;
static struct attempt outcome;

void attempts_begin(void)
{
    *(uint64_t *)(task_state_segments + IST_OFFSET) = (uintptr_t)stack + STACK_SIZE;
    exceptions_use_ist(1);
}

void attempts_end(void)
{
    exceptions_use_ist(0);
}

static void start(void)
{
    outcome = (struct attempt){.vector = NO_EXCEPTION};
    attempt_under_way = true;
}

struct attempt attempt(attempt_function *function, uint64_t argument)
{
    start();
    attempt_call(function, argument);
    attempt_under_way = false;
    return outcome;
}

struct attempt attempt_cpl3(uint64_t rip, uint64_t rsp, uint64_t rdi)
{
    start();
    attempt_call_cpl3(rip, rsp, rdi);
    attempt_under_way = false;
    return outcome;
}

void attempt_caught(const struct exception_frame *frame, uint64_t cr2)
{
    if (!attempt_under_way)
        return;
    outcome = (struct attempt){
        .vector = frame->vector,
        .error_code = frame->error_code,
        .cr2 = cr2,
        .rip = frame->interrupted.rip,
        .cpl = frame->interrupted.cs & 3,
    };
    __asm__ volatile("jmp *%0" : : "r"(attempt_return) : "memory");
}
