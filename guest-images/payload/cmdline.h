/* The command line: words NAME, NAME=VALUE and NAME=ITEM,ITEM,... */
#ifndef PAYLOAD_CMDLINE_H
#define PAYLOAD_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A part of the command line, without a terminating zero. */
struct text {
    const char *start;
    size_t length;
};

bool text_equals(struct text text, const char *other);
/* Removes and returns the number at the start of a text: decimal or 0x..., with K, M or G. */
uint64_t text_take_number(struct text *text);
/* Removes and returns the part before the separator; also removes the separator. */
struct text text_take_until(struct text *text, char separator);

/* The value of the n-th word NAME=VALUE (n from 0), or of the word NAME (empty). */
bool cmdline_find(const char *name, unsigned n, struct text *value);
uint64_t cmdline_number(const char *name, uint64_t otherwise);
/* Whether ITEM is in the list NAME=ITEM,ITEM,... */
bool cmdline_list_has(const char *name, const char *item);

#endif
