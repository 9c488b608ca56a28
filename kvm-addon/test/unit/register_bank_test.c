/* Register banks and the bus: what the vCPU threads do with a guest's accesses to devices. */
#include "../../src/bus/register_bank.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../src/bus/bus.h"
#include "../check.h"

static unsigned wakes;

static void count_wake(void *context)
{
    (void)context;
    wakes++;
}

static struct tsvm_register plain(uint16_t offset, uint8_t width)
{
    return (struct tsvm_register){.offset = offset,
                                  .width = width,
                                  .after_read_word = TSVM_NO_WORD,
                                  .after_write_word = TSVM_NO_WORD};
}

static void what_the_table_does_not_name_is_a_slow_exit(void)
{
    struct register_bank bank;
    uint32_t value = 77;
    CHECK(register_bank_init(&bank, 8, 1, 0) == 0);
    CHECK(!register_bank_read(&bank, 0, 4, &value) && value == 77);
    CHECK(!register_bank_write(&bank, 0, 4, 1));
    struct tsvm_register reg = plain(0, 4);
    reg.read = TSVM_READ_WORD;
    CHECK(register_bank_set_registers(&bank, &reg, 1) == 0);
    CHECK(register_bank_read(&bank, 0, 4, &value) && value == 0);
    CHECK(!register_bank_read(&bank, 0, 2, &value));
    CHECK(!register_bank_read(&bank, 4, 4, &value));
    CHECK(!register_bank_write(&bank, 0, 4, 1));
    register_bank_destroy(&bank);
}

static void words_are_read_written_and_cleared(void)
{
    struct register_bank bank;
    uint32_t value;
    CHECK(register_bank_init(&bank, 8, 2, 0) == 0);
    struct tsvm_register table[] = {plain(0, 4), plain(4, 4)};
    table[0].read = TSVM_READ_WORD;
    table[0].after_read_word = 0;
    table[0].after_read_value = 9;
    table[0].write = TSVM_WRITE_WORD;
    table[1].read = TSVM_READ_WORD;
    table[1].read_word = 1;
    table[1].write = TSVM_WRITE_CLEAR_BITS;
    table[1].write_word = 1;
    CHECK(register_bank_set_registers(&bank, table, 2) == 0);
    CHECK(register_bank_write(&bank, 0, 4, 5) && bank.words[0] == 5);
    CHECK(register_bank_read(&bank, 0, 4, &value) && value == 5 && bank.words[0] == 9);
    bank.words[1] = 7;
    CHECK(register_bank_write(&bank, 4, 4, 2) && bank.words[1] == 5);
    register_bank_destroy(&bank);
}

static void other_bits_than_those_named_are_a_slow_exit(void)
{
    struct register_bank bank;
    CHECK(register_bank_init(&bank, 8, 2, 0) == 0);
    struct tsvm_register table[] = {plain(4, 1)};
    table[0].write = TSVM_WRITE_BITS;
    table[0].write_word = 1;
    table[0].write_mask = 8;
    CHECK(register_bank_set_registers(&bank, table, 1) == 0);
    bank.words[1] = 5;
    CHECK(register_bank_write(&bank, 4, 1, 5) && bank.words[1] == 5);
    CHECK(register_bank_write(&bank, 4, 1, 13) && bank.words[1] == 13);
    CHECK(!register_bank_write(&bank, 4, 1, 12) && bank.words[1] == 13);
    table[0].write_word = 2;
    CHECK(register_bank_set_registers(&bank, table, 1) == -EINVAL);
    register_bank_destroy(&bank);
}

static void a_full_ring_is_a_slow_exit_and_loses_nothing(void)
{
    struct register_bank bank;
    uint8_t bytes[8];
    CHECK(register_bank_init(&bank, 1, 1, 4) == 0);
    bank.wake = (struct wake){.notify = count_wake};
    struct interrupt_line line;
    interrupt_line_init(&line, eventfd(0, EFD_NONBLOCK));
    bank.interrupt = &line;
    struct tsvm_register reg = plain(0, 1);
    reg.write = TSVM_WRITE_RING;
    reg.after_write_word = 0;
    reg.after_write_value = 3;
    reg.raise = 1;
    CHECK(register_bank_set_registers(&bank, &reg, 1) == 0);
    wakes = 0;
    for (uint32_t i = 0; i < 4; i++)
        CHECK(register_bank_write(&bank, 0, 1, 'a' + i));
    CHECK(wakes == 1 && bank.words[0] == 3);
    bank.words[0] = 0;
    CHECK(!register_bank_write(&bank, 0, 1, 'e') && bank.words[0] == 0);
    eventfd_t raised = 0;
    CHECK(eventfd_read(line.event_fd, &raised) == 0 && raised == 4);
    CHECK(register_bank_drain(&bank, bytes, 3) == 3 && memcmp(bytes, "abc", 3) == 0);
    CHECK(register_bank_write(&bank, 0, 1, 'e'));
    CHECK(register_bank_drain(&bank, bytes, 8) == 2 && memcmp(bytes, "de", 2) == 0);
    CHECK(register_bank_drain(&bank, bytes, 8) == 0);
    close(line.event_fd);
    register_bank_destroy(&bank);
}

static void stamps_are_kept_in_order_and_bounded(void)
{
    struct register_bank bank;
    static struct register_stamp stamps[REGISTER_BANK_STAMPS_MAX];
    CHECK(register_bank_init(&bank, 1, 0, 0) == 0);
    struct tsvm_register reg = plain(0, 1);
    reg.write = TSVM_WRITE_STAMP;
    CHECK(register_bank_set_registers(&bank, &reg, 1) == 0);
    for (uint32_t i = 0; i < REGISTER_BANK_STAMPS_MAX + 100; i++)
        CHECK(register_bank_write(&bank, 0, 1, i & 0xff));
    CHECK(register_bank_take_stamps(&bank, stamps, 1) == 1 && stamps[0].value == 0);
    CHECK(register_bank_take_stamps(&bank, stamps, REGISTER_BANK_STAMPS_MAX) ==
          REGISTER_BANK_STAMPS_MAX - 1);
    CHECK(stamps[0].value == 1 && stamps[1].time_ns >= stamps[0].time_ns);
    CHECK(register_bank_take_stamps(&bank, stamps, 1) == 0);
    register_bank_destroy(&bank);
}

static void tables_that_make_no_sense_are_refused(void)
{
    struct register_bank bank;
    CHECK(register_bank_init(&bank, 8, REGISTER_BANK_WORDS_MAX + 1, 0) == -EINVAL);
    CHECK(register_bank_init(&bank, 8, 1, 3) == -EINVAL);
    CHECK(register_bank_init(&bank, 8, 1, 0) == 0);
    struct tsvm_register bad[7];
    for (unsigned i = 0; i < 7; i++)
        bad[i] = plain(0, 4);
    bad[0].width = 3;
    bad[1].read = 9;
    bad[2].write = 9;
    bad[3].read = TSVM_READ_WORD;
    bad[3].read_word = 1;
    bad[4].write = TSVM_WRITE_RING;
    bad[5].after_write_word = 1;
    bad[6].read = TSVM_READ_COUNTED; /* in no word */
    for (unsigned i = 0; i < 7; i++)
        CHECK(register_bank_set_registers(&bank, &bad[i], 1) == -EINVAL);
    register_bank_destroy(&bank);
}

static void the_bus_finds_the_range_of_an_access(void)
{
    static struct bus bus;
    struct register_bank small, large;
    CHECK(register_bank_init(&small, 8, 0, 0) == 0);
    CHECK(register_bank_init(&large, 0x1000, 0, 0) == 0);
    CHECK(bus_attach(&bus, BUS_PIO, 0x3f8, &small) == 0);
    CHECK(bus_attach(&bus, BUS_PIO, 0x60, &small) == 1);
    CHECK(bus_attach(&bus, BUS_MMIO, 0xd0001000, &large) == 2);
    CHECK(bus_attach(&bus, BUS_PIO, 0x3f0, &small) == 3);
    CHECK(bus_attach(&bus, BUS_PIO, 0x3ff, &small) == -EEXIST);
    CHECK(bus_attach(&bus, BUS_PIO, 0x3f4, &small) == -EEXIST);
    CHECK(bus_find(&bus, BUS_PIO, 0x3f8, 1)->id == 0);
    CHECK(bus_find(&bus, BUS_PIO, 0x3ff, 1)->id == 0);
    CHECK(bus_find(&bus, BUS_PIO, 0x3ff, 2) == NULL);
    CHECK(bus_find(&bus, BUS_PIO, 0x400, 1) == NULL);
    CHECK(bus_find(&bus, BUS_PIO, 0x5f, 1) == NULL);
    CHECK(bus_find(&bus, BUS_PIO, 0, 1) == NULL);
    CHECK(bus_find(&bus, BUS_MMIO, 0x3f8, 1) == NULL);
    CHECK(bus_find(&bus, BUS_MMIO, 0xd0001ffc, 4)->id == 2);
    CHECK(bus_find(&bus, BUS_MMIO, 0xd0001ffc, 8) == NULL);
    CHECK(bus_find(&bus, BUS_MMIO, UINT64_MAX, 8) == NULL);
    register_bank_destroy(&small);
    register_bank_destroy(&large);
}

int main(void)
{
    what_the_table_does_not_name_is_a_slow_exit();
    words_are_read_written_and_cleared();
    other_bits_than_those_named_are_a_slow_exit();
    a_full_ring_is_a_slow_exit_and_loses_nothing();
    stamps_are_kept_in_order_and_bounded();
    tables_that_make_no_sense_are_refused();
    the_bus_finds_the_range_of_an_access();
    return check_finish();
}
