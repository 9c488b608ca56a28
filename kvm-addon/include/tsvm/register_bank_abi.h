/* Declares the behaviour of a register. A bank's table is an array of struct tsvm_register. */
#ifndef TSVM_REGISTER_BANK_ABI_H
#define TSVM_REGISTER_BANK_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum tsvm_register_read {
    TSVM_READ_SCRIPT = 0, /* a slow exit */
    TSVM_READ_WORD = 1,   /* the low bytes of words[read_word] */
    /* The same, which increments words[after_read_word]; a slow exit once that is after_read_value.
     */
    TSVM_READ_COUNTED = 2,
};

enum tsvm_register_write {
    TSVM_WRITE_SCRIPT = 0, /* a slow exit */
    TSVM_WRITE_IGNORE = 1,
    TSVM_WRITE_WORD = 2,       /* words[write_word] = value */
    TSVM_WRITE_CLEAR_BITS = 3, /* words[write_word] &= ~value */
    TSVM_WRITE_RING = 4,       /* append the low byte to the ring; slow exit if it is full */
    TSVM_WRITE_STAMP = 5,      /* record (value, time); dropped if there are too many */
    /* words[write_word] = value if only bits of write_mask change; else a slow exit */
    TSVM_WRITE_BITS = 6,
};

/* No word is changed after the access. */
#define TSVM_NO_WORD 0xff

struct tsvm_register {
    uint16_t offset; /* bytes from the bank's base */
    uint8_t width;   /* access width: 1, 2 or 4 bytes; other widths are slow exits */
    uint8_t read;    /* enum tsvm_register_read */
    uint8_t write;   /* enum tsvm_register_write */
    uint8_t read_word;
    uint8_t write_word;
    uint8_t after_read_word;  /* set to after_read_value after a read, or TSVM_NO_WORD */
    uint8_t after_write_word; /* set to after_write_value after a write, or TSVM_NO_WORD */
    uint8_t raise;            /* 1: a write pulses the bank's interrupt */
    uint8_t write_mask;       /* of TSVM_WRITE_BITS */
    uint8_t reserved;
    uint32_t after_read_value;
    uint32_t after_write_value;
};

static_assert(sizeof(struct tsvm_register) == 20, "shared with vmm/kvm/register-bank.ts");
static_assert(offsetof(struct tsvm_register, after_read_value) == 12,
              "shared with vmm/kvm/register-bank.ts");

#endif
