#include "cmdline.h"

#include "boot_info.h"
#include "string.h"

bool text_equals(struct text text, const char *other)
{
    return strlen(other) == text.length && memcmp(text.start, other, text.length) == 0;
}

struct text text_take_until(struct text *text, char separator)
{
    struct text part = {text->start, 0};
    while (part.length < text->length && part.start[part.length] != separator)
        part.length++;
    size_t taken = part.length < text->length ? part.length + 1 : part.length;
    text->start += taken;
    text->length -= taken;
    return part;
}

static void text_drop(struct text *text, size_t count)
{
    text->start += count;
    text->length -= count;
}

static unsigned digit_value(char character)
{
    if (character >= '0' && character <= '9')
        return (unsigned)(character - '0');
    if (character >= 'a' && character <= 'f')
        return (unsigned)(character - 'a') + 10;
    return 16;
}

static unsigned unit_shift(char unit)
{
    switch (unit) {
    case 'K':
        return 10;
    case 'M':
        return 20;
    case 'G':
        return 30;
    default:
        return 0;
    }
}

uint64_t text_take_number(struct text *text)
{
    unsigned base = 10;
    uint64_t value = 0;
    if (text->length > 2 && text_starts_with(text->start, "0x")) {
        base = 16;
        text_drop(text, 2);
    }
    while (text->length != 0 && digit_value(*text->start) < base) {
        value = value * base + digit_value(*text->start);
        text_drop(text, 1);
    }
    if (text->length != 0 && unit_shift(*text->start) != 0) {
        value <<= unit_shift(*text->start);
        text_drop(text, 1);
    }
    return value;
}

bool cmdline_find(const char *name, unsigned n, struct text *value)
{
    struct text rest = {boot_info.cmdline, strlen(boot_info.cmdline)};
    while (rest.length != 0) {
        struct text word = text_take_until(&rest, ' ');
        struct text key = text_take_until(&word, '=');
        if (text_equals(key, name) && n-- == 0) {
            *value = word;
            return true;
        }
    }
    return false;
}

uint64_t cmdline_number(const char *name, uint64_t otherwise)
{
    struct text value;
    return cmdline_find(name, 0, &value) && value.length != 0 ? text_take_number(&value)
                                                              : otherwise;
}

bool cmdline_list_has(const char *name, const char *item)
{
    struct text list;
    if (!cmdline_find(name, 0, &list))
        return false;
    while (list.length != 0)
        if (text_equals(text_take_until(&list, ','), item))
            return true;
    return false;
}
