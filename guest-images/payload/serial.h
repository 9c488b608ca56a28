/* The serial port at 0x3f8, polled, and formatted output on it. */
#ifndef PAYLOAD_SERIAL_H
#define PAYLOAD_SERIAL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

void serial_init(void);
void serial_write(const char *text, size_t length);
/* Waits for a character. */
char serial_read(void);

/* %s, %c, %u, %x and %p (hexadecimal, 0x), with l for 64 bits. Longer output is cut. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
size_t format_text(char *buffer, size_t size, const char *format, va_list arguments);

#endif
