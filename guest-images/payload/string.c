/* The functions that gcc calls even in freestanding code, and a few similar ones. */
#include "string.h"

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    void *result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
    return result;
}

void *memset(void *to, int value, size_t count)
{
    void *result = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return result;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const unsigned char *a = left, *b = right;
    for (; count != 0; count--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    while (*end != '\0')
        end++;
    return (size_t)(end - text);
}

bool text_starts_with(const char *text, const char *prefix)
{
    return memcmp(text, prefix, strlen(prefix)) == 0;
}

bool bytes_are(const void *bytes, uint8_t value, size_t count)
{
    const uint8_t *byte = bytes;
    for (; count != 0; count--)
        if (*byte++ != value)
            return false;
    return true;
}
