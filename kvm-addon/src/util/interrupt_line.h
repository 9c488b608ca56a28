/*
 * An interrupt line that devices pulse from any thread. It signals an eventfd, usually an irqfd, or
 * calls a function instead.
 */
#ifndef TSVM_INTERRUPT_LINE_H
#define TSVM_INTERRUPT_LINE_H

#include <pthread.h>
#include <stdint.h>

typedef void interrupt_raise(void *context, uint32_t gsi);

struct interrupt_line {
    int event_fd;
    pthread_mutex_t lock; /* protects the fields below */
    interrupt_raise *raise;
    void *context;
    uint32_t gsi;
};

void interrupt_line_init(struct interrupt_line *line, int event_fd);
void interrupt_line_destroy(struct interrupt_line *line);

/* Raises one edge. */
void interrupt_line_pulse(struct interrupt_line *line);

/* Sets the function; NULL: the eventfd. On return, the previous function is not in use. */
void interrupt_line_set_raise(struct interrupt_line *line, interrupt_raise *raise, void *context,
                              uint32_t gsi);

#endif
