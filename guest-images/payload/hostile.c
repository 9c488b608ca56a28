#include "hostile.h"

#include "interrupts.h"

volatile uint64_t loaded_word;

static enum verdict (*test_body)(void);
static enum verdict test_verdict;

static void call_body(uint64_t unused, struct interrupt_frame *frame)
{
    (void)unused;
    (void)frame;
    attempts_begin();
    test_verdict = test_body();
    experiment_end();
    attempts_end();
}

enum verdict run_at_cpl0(enum verdict (*body)(void))
{
    test_body = body;
    cpl0_call(call_body, 0);
    return test_verdict;
}

static void load(uint64_t va)
{
    loaded_word = load_word(va);
}

struct attempt try_load(uint64_t va)
{
    return attempt(load, va);
}

static uint64_t stored_word;

static void store(uint64_t va)
{
    store_word(va, stored_word);
}

struct attempt try_store(uint64_t va, uint64_t value)
{
    stored_word = value;
    return attempt(store, va);
}

static void call(uint64_t va)
{
    ((void (*)(void))va)();
}

struct attempt try_call(uint64_t va)
{
    return attempt(call, va);
}
