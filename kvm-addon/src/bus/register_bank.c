#include "register_bank.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int register_bank_init(struct register_bank *bank, uint32_t length, uint32_t word_count,
                       uint32_t ring_size)
{
    if (word_count > REGISTER_BANK_WORDS_MAX || (ring_size & (ring_size - 1)) != 0 ||
        ring_size > 1u << 24)
        return -EINVAL;
    memset(bank, 0, sizeof *bank);
    bank->length = length;
    bank->word_count = word_count;
    bank->ring_size = ring_size;
    if (ring_size > 0) {
        bank->ring = malloc(ring_size);
        if (!bank->ring)
            return -ENOMEM;
    }
    pthread_mutex_init(&bank->lock, NULL);
    return 0;
}

void register_bank_destroy(struct register_bank *bank)
{
    pthread_mutex_destroy(&bank->lock);
    free(bank->ring);
    free(bank->stamps);
}

static bool word_exists(const struct register_bank *bank, uint8_t word)
{
    return word < bank->word_count;
}

static bool register_valid(const struct register_bank *bank, const struct tsvm_register *reg)
{
    if (reg->width != 1 && reg->width != 2 && reg->width != 4)
        return false;
    if (reg->read > TSVM_READ_COUNTED || reg->write > TSVM_WRITE_BITS)
        return false;
    if (reg->read != TSVM_READ_SCRIPT && !word_exists(bank, reg->read_word))
        return false;
    if (reg->read == TSVM_READ_COUNTED && !word_exists(bank, reg->after_read_word))
        return false;
    if ((reg->write == TSVM_WRITE_WORD || reg->write == TSVM_WRITE_CLEAR_BITS ||
         reg->write == TSVM_WRITE_BITS) &&
        !word_exists(bank, reg->write_word))
        return false;
    if (reg->write == TSVM_WRITE_RING && bank->ring_size == 0)
        return false;
    return (reg->after_read_word == TSVM_NO_WORD || word_exists(bank, reg->after_read_word)) &&
           (reg->after_write_word == TSVM_NO_WORD || word_exists(bank, reg->after_write_word));
}

int register_bank_set_registers(struct register_bank *bank, const struct tsvm_register *registers,
                                uint32_t count)
{
    if (count > REGISTER_BANK_REGISTERS_MAX)
        return -EINVAL;
    struct register_stamp *stamps = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (!register_valid(bank, &registers[i]))
            return -EINVAL;
        if (registers[i].write == TSVM_WRITE_STAMP && !bank->stamps && !stamps) {
            stamps = calloc(REGISTER_BANK_STAMPS_MAX, sizeof *stamps);
            if (!stamps)
                return -ENOMEM;
        }
    }
    pthread_mutex_lock(&bank->lock);
    if (stamps)
        bank->stamps = stamps;
    memcpy(bank->registers, registers, count * sizeof *registers);
    bank->register_count = count;
    pthread_mutex_unlock(&bank->lock);
    return 0;
}

/* Linear search: tables are short, and a scan takes nanoseconds, the exit itself microseconds. */
static const struct tsvm_register *register_find(const struct register_bank *bank, uint32_t offset,
                                                 uint32_t width)
{
    for (uint32_t i = 0; i < bank->register_count; i++) {
        const struct tsvm_register *reg = &bank->registers[i];
        if (reg->offset == offset && reg->width == width)
            return reg;
    }
    return NULL;
}

static void word_set(struct register_bank *bank, uint8_t word, uint32_t value)
{
    if (word != TSVM_NO_WORD)
        __atomic_store_n(&bank->words[word], value, __ATOMIC_RELEASE);
}

/* The lock is held. JavaScript starts the count anew. */
static bool count_read(struct register_bank *bank, const struct tsvm_register *reg)
{
    uint32_t *count = &bank->words[reg->after_read_word];
    if (__atomic_load_n(count, __ATOMIC_ACQUIRE) >= reg->after_read_value)
        return false;
    __atomic_fetch_add(count, 1, __ATOMIC_ACQ_REL);
    return true;
}

static bool read_apply(struct register_bank *bank, const struct tsvm_register *reg, uint32_t *value)
{
    if (reg->read == TSVM_READ_SCRIPT || (reg->read == TSVM_READ_COUNTED && !count_read(bank, reg)))
        return false;
    *value = __atomic_load_n(&bank->words[reg->read_word], __ATOMIC_ACQUIRE);
    if (reg->read == TSVM_READ_WORD)
        word_set(bank, reg->after_read_word, reg->after_read_value);
    return true;
}

bool register_bank_read(struct register_bank *bank, uint32_t offset, uint32_t width,
                        uint32_t *value)
{
    pthread_mutex_lock(&bank->lock);
    const struct tsvm_register *reg = register_find(bank, offset, width);
    bool fast = reg && read_apply(bank, reg, value);
    pthread_mutex_unlock(&bank->lock);
    return fast;
}

static bool ring_put(struct register_bank *bank, uint8_t byte)
{
    if (bank->ring_tail - bank->ring_head == bank->ring_size)
        return false;
    bank->ring[bank->ring_tail++ & (bank->ring_size - 1)] = byte;
    if (bank->ring_tail - bank->ring_head == 1)
        wake_notify(&bank->wake);
    return true;
}

static void stamp_put(struct register_bank *bank, uint32_t value)
{
    if (bank->stamp_count == REGISTER_BANK_STAMPS_MAX)
        return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    bank->stamps[bank->stamp_count++] = (struct register_stamp){
        .time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .value = value,
    };
}

/* The lock is held, and nobody else writes to such a word. */
static bool change_bits(struct register_bank *bank, const struct tsvm_register *reg, uint32_t value)
{
    uint32_t old = __atomic_load_n(&bank->words[reg->write_word], __ATOMIC_ACQUIRE);
    if ((old ^ value) & ~(uint32_t)reg->write_mask)
        return false;
    word_set(bank, reg->write_word, value);
    return true;
}

static bool write_apply(struct register_bank *bank, const struct tsvm_register *reg, uint32_t value)
{
    switch ((enum tsvm_register_write)reg->write) {
    case TSVM_WRITE_SCRIPT:
        return false;
    case TSVM_WRITE_IGNORE:
        return true;
    case TSVM_WRITE_WORD:
        word_set(bank, reg->write_word, value);
        return true;
    case TSVM_WRITE_CLEAR_BITS:
        /* Atomic, so that a bit set by a queue thread at the same time is not lost. */
        __atomic_and_fetch(&bank->words[reg->write_word], ~value, __ATOMIC_ACQ_REL);
        return true;
    case TSVM_WRITE_RING:
        return ring_put(bank, (uint8_t)value);
    case TSVM_WRITE_BITS:
        return change_bits(bank, reg, value);
    case TSVM_WRITE_STAMP:
        stamp_put(bank, value);
        return true;
    }
    return false;
}

bool register_bank_write(struct register_bank *bank, uint32_t offset, uint32_t width,
                         uint32_t value)
{
    pthread_mutex_lock(&bank->lock);
    const struct tsvm_register *reg = register_find(bank, offset, width);
    bool fast = reg && write_apply(bank, reg, value);
    if (fast) {
        word_set(bank, reg->after_write_word, reg->after_write_value);
        if (reg->raise && bank->interrupt)
            interrupt_line_pulse(bank->interrupt);
    }
    pthread_mutex_unlock(&bank->lock);
    return fast;
}

uint32_t register_bank_drain(struct register_bank *bank, uint8_t *buffer, uint32_t size)
{
    uint32_t taken = 0;
    pthread_mutex_lock(&bank->lock);
    while (taken < size && bank->ring_head != bank->ring_tail)
        buffer[taken++] = bank->ring[bank->ring_head++ & (bank->ring_size - 1)];
    pthread_mutex_unlock(&bank->lock);
    return taken;
}

uint32_t register_bank_take_stamps(struct register_bank *bank, struct register_stamp *stamps,
                                   uint32_t max)
{
    pthread_mutex_lock(&bank->lock);
    uint32_t taken = bank->stamp_count < max ? bank->stamp_count : max;
    if (taken > 0)
        memcpy(stamps, bank->stamps, taken * sizeof *stamps);
    bank->stamp_count -= taken;
    if (bank->stamp_count > 0)
        memmove(bank->stamps, bank->stamps + taken, bank->stamp_count * sizeof *stamps);
    pthread_mutex_unlock(&bank->lock);
    return taken;
}
