/* The command line: words NAME, NAME=VALUE and NAME=ITEM,ITEM,... */
#ifndef PAYLOAD_CMDLINE_H
#define PAYLOAD_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of the command line: not terminated by a zero. */
struct text {
    const char *start;
    size_t length;
};

bool text_equals(struct text text, const char *other);
/* The number at the front of a text (decimal or 0x hexadecimal, then K, M or G), taken off it. */
uint64_t text_take_number(struct text *text);
/* The part before the separator, taken off the text together with the separator. */
struct text text_take_until(struct text *text, char separator);

/* The value of the n-th word NAME=VALUE (n from 0), or of the word NAME (empty). */
bool cmdline_find(const char *name, unsigned n, struct text *value);
uint64_t cmdline_number(const char *name, uint64_t otherwise);
/* Whether ITEM stands in the list NAME=ITEM,ITEM,... */
bool cmdline_list_has(const char *name, const char *item);

#endif
