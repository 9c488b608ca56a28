#include "serial.h"

#include "cpu.h"
#include "string.h"

#define UART_DATA 0x3f8
#define UART_FCR 0x3fa
#define UART_LSR 0x3fd
#define UART_FCR_ENABLE_FIFO 0x01
#define UART_LSR_DATA_READY 0x01
#define UART_LSR_THR_EMPTY 0x20
#define UART_FIFO_SIZE 16

void serial_init(void)
{
    outb(UART_FCR, UART_FCR_ENABLE_FIFO);
}

void serial_write(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        /* An empty holding register means an empty FIFO: one status read, itself a VM exit,
         * pays for the next 16 characters. */
        if (i % UART_FIFO_SIZE == 0)
            while (!(inb(UART_LSR) & UART_LSR_THR_EMPTY))
                cpu_relax();
        outb(UART_DATA, (uint8_t)text[i]);
    }
}

char serial_read(void)
{
    while (!(inb(UART_LSR) & UART_LSR_DATA_READY))
        cpu_relax();
    return (char)inb(UART_DATA);
}

static size_t digits_reversed(char *digits, uint64_t value, unsigned base)
{
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    return count;
}

size_t format_text(char *buffer, size_t size, const char *format, va_list arguments)
{
    size_t used = 0;
#define APPEND(character)                                                                          \
    do {                                                                                           \
        if (used < size)                                                                           \
            buffer[used++] = (character);                                                          \
    } while (0)
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            APPEND(*format);
            continue;
        }
        bool wide = *++format == 'l';
        if (wide)
            format++;
        if (*format == 's') {
            for (const char *text = va_arg(arguments, const char *); *text != '\0'; text++)
                APPEND(*text);
        } else if (*format == 'c') {
            APPEND((char)va_arg(arguments, int));
        } else {
            char digits[20];
            bool pointer = *format == 'p';
            uint64_t value =
                pointer || wide ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            size_t count = digits_reversed(digits, value, *format == 'u' ? 10 : 16);
            if (*format != 'u') {
                APPEND('0');
                APPEND('x');
            }
            while (count != 0)
                APPEND(digits[--count]);
        }
    }
#undef APPEND
    return used;
}

void print(const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    size_t length = format_text(line, sizeof(line), format, arguments);
    va_end(arguments);
    serial_write(line, length);
}
