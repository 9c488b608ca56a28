/*
 * The registers of one device. TypeScript declares the behaviour of simple registers in a table;
 * the vCPU threads implement it here, without JavaScript. All other accesses are slow exits.
 */
#ifndef TSVM_REGISTER_BANK_H
#define TSVM_REGISTER_BANK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../include/tsvm/register_bank_abi.h"
#include "../util/interrupt_line.h"
#include "../util/wake.h"

#define REGISTER_BANK_REGISTERS_MAX 32
#define REGISTER_BANK_WORDS_MAX 64
#define REGISTER_BANK_STAMPS_MAX 1024

struct register_stamp {
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    uint32_t value;
};

struct register_bank {
    uint32_t length;                         /* size of the register window, bytes */
    uint32_t words[REGISTER_BANK_WORDS_MAX]; /* atomic; shared with queue threads and JavaScript */
    uint32_t word_count;
    struct interrupt_line *interrupt; /* or NULL */
    struct wake wake;                 /* notified when the ring becomes non-empty */

    pthread_mutex_t lock; /* protects the fields below */
    struct tsvm_register registers[REGISTER_BANK_REGISTERS_MAX];
    uint32_t register_count;
    uint8_t *ring;
    uint32_t ring_size; /* a power of two, or 0 */
    uint32_t ring_head; /* next byte to read; free-running, not reduced modulo the size */
    uint32_t ring_tail; /* next byte to write; likewise */
    struct register_stamp *stamps;
    uint32_t stamp_count;
};

/* Returns 0, -EINVAL (too many words, ring size not a power of two) or -ENOMEM. */
int register_bank_init(struct register_bank *bank, uint32_t length, uint32_t word_count,
                       uint32_t ring_size);
void register_bank_destroy(struct register_bank *bank);

/* Replaces the table. Returns 0 or -EINVAL (an invalid behaviour, word or width). */
int register_bank_set_registers(struct register_bank *bank, const struct tsvm_register *registers,
                                uint32_t count);

/* Both return false if the access is a slow exit. */
bool register_bank_read(struct register_bank *bank, uint32_t offset, uint32_t width,
                        uint32_t *value);
bool register_bank_write(struct register_bank *bank, uint32_t offset, uint32_t width,
                         uint32_t value);

/* Removes up to `size` bytes from the ring, oldest first. Returns their number. */
uint32_t register_bank_drain(struct register_bank *bank, uint8_t *buffer, uint32_t size);

/* Removes up to `max` stamps, oldest first. Returns their number. */
uint32_t register_bank_take_stamps(struct register_bank *bank, struct register_stamp *stamps,
                                   uint32_t max);

#endif
