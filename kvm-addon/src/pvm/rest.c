#include "rest.h"

#include "../util/clock.h"
#include "code_arena.h"
#include "code_cache.h"
#include "loop.h"
#include "translator.h"

/* How long a vCPU is looked at, at least, before it counts as busy or not. */
#define WINDOW_NS 2000000000u
/* A vCPU that is awake for less than this part of it is not busy. */
#define BUSY_SHARE 50u

/* What an idle guest does needs little of it; that is decoded again, and stays. */
static void give_back(struct cpu *cpu)
{
    code_flush(cpu);
    code_cache_discard(cpu);
    translator_discard(cpu);
}

void rest_begin(struct cpu *cpu)
{
    struct cpu_rest *rest = &cpu->loop->rest;
    uint64_t now = now_ns();

    rest->awake_ns += now - rest->since_ns;
    uint64_t window = now - rest->window_ns;
    if (window < WINDOW_NS)
        return;
    bool busy = rest->awake_ns > window / BUSY_SHARE;
    if (busy && rest->gave_back)
        code_cache_expect_growth(cpu);
    else if (!busy && !rest->gave_back)
        give_back(cpu);
    rest->gave_back = !busy;
    rest->awake_ns = 0;
    rest->window_ns = now;
}

void rest_end(struct cpu *cpu)
{
    cpu->loop->rest.since_ns = now_ns();
}
