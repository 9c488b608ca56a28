/* Which interrupts for a vCPU's kicks are held back, and when they are raised. */
#include <x86intrin.h>

#include "../../src/pvm/engine_api.h"
#include "../check.h"
#include "engine_guest.h"

#define LINE 5u

static struct guest guest;
static struct cpu *cpu = &guest.cpu;

static uint32_t raised(void)
{
    return guest.interrupts.raised;
}

static void reset(void)
{
    guest.interrupts = (struct cpu_interrupts){.look_period = 8000000};
    guest.moderation = (struct moderation){.holds = false};
}

/* A kick whose device may raise the line. */
static void kick(bool raises)
{
    moderation_begin_kick(cpu);
    if (raises)
        engine_raise_line(&guest.engine, LINE);
    moderation_end_kick(cpu);
}

/* A held interrupt that is followed by no kick. */
static void hold_in_vain(void)
{
    kick(true);
    moderation_release(cpu);
}

static void test_other_interrupts_are_raised_at_once(void)
{
    reset();
    engine_raise_line(&guest.engine, LINE);
    CHECK(raised() == 1);
    moderation_begin_kick(cpu);
    engine_raise_line(&guest.engine, LINE);
    engine_raise_line(&guest.engine, LINE + 1);
    CHECK(raised() == 2);
    moderation_end_kick(cpu);
    engine_raise_line(&guest.engine, LINE);
    CHECK(raised() == 3);
    moderation_release(cpu);
    CHECK(raised() == 4);
}

static void test_one_interrupt_for_several_kicks(void)
{
    reset();
    for (unsigned i = 0; i < 8; i++)
        kick(i == 0 || i == 4);
    CHECK(raised() == 0);
    moderation_release(cpu);
    CHECK(raised() == 1);
    moderation_release(cpu);
    CHECK(raised() == 1);
}

static void test_kicks_are_bounded(void)
{
    reset();
    for (unsigned i = 0; i < 17 * 3; i++)
        kick(true);
    CHECK(raised() == 3);
}

static void test_time_is_bounded(void)
{
    reset();
    kick(true);
    uint64_t until = guest.moderation.until;
    CHECK(until <= __rdtsc() + guest.interrupts.look_period);
    moderation_check_clock(cpu, until - 1);
    CHECK(raised() == 0);
    moderation_check_clock(cpu, until);
    CHECK(raised() == 1);
}

/* A driver that waits for each request gets nearly all interrupts immediately. */
static void test_holding_in_vain_becomes_rare(void)
{
    unsigned held = 0;
    reset();
    for (unsigned i = 0; i < 10000; i++) {
        kick(true);
        held += guest.moderation.holds;
        moderation_release(cpu);
    }
    CHECK(raised() == 10000);
    CHECK(held > 10 && held < 30);
}

static void test_it_is_tried_again(void)
{
    reset();
    hold_in_vain();
    hold_in_vain();
    CHECK(raised() == 2);
    unsigned passed = 0;
    for (kick(true); !guest.moderation.holds; kick(true))
        passed++;
    CHECK(passed == 8);
    /* This time another kick follows, and the next interrupt is held as well. */
    kick(false);
    moderation_release(cpu);
    kick(true);
    CHECK(guest.moderation.holds);
}

int main(void)
{
    if (!guest_init(&guest))
        return 1;
    test_other_interrupts_are_raised_at_once();
    test_one_interrupt_for_several_kicks();
    test_kicks_are_bounded();
    test_time_is_bounded();
    test_holding_in_vain_becomes_rare();
    test_it_is_tried_again();
    guest_free(&guest);
    return check_finish();
}
