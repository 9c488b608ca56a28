/*
 * An interrupt line that devices pulse, from any thread: an eventfd, which KVM or another waits on,
 * or a function in its place.
 */
#ifndef TSVM_INTERRUPT_LINE_H
#define TSVM_INTERRUPT_LINE_H

#include <pthread.h>
#include <stdint.h>

typedef void interrupt_raise(void *context, uint32_t gsi);

struct interrupt_line {
    int event_fd;
    pthread_mutex_t lock; /* protects all below */
    interrupt_raise *raise;
    void *context;
    uint32_t gsi;
};

void interrupt_line_init(struct interrupt_line *line, int event_fd);
void interrupt_line_destroy(struct interrupt_line *line);

/* One edge. */
void interrupt_line_pulse(struct interrupt_line *line);

/* NULL: by the eventfd again. When it returns nobody calls the one before any more. */
void interrupt_line_set_raise(struct interrupt_line *line, interrupt_raise *raise, void *context,
                              uint32_t gsi);

#endif
