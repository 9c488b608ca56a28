#ifndef PAYLOAD_STRING_H
#define PAYLOAD_STRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *left, const void *right, size_t count);
size_t strlen(const char *text);
bool text_starts_with(const char *text, const char *prefix);
bool bytes_are(const void *bytes, uint8_t value, size_t count);

#endif
