#include "interrupt_line.h"

#include <stddef.h>
#include <sys/eventfd.h>

void interrupt_line_init(struct interrupt_line *line, int event_fd)
{
    *line = (struct interrupt_line){.event_fd = event_fd};
    pthread_mutex_init(&line->lock, NULL);
}

void interrupt_line_destroy(struct interrupt_line *line)
{
    pthread_mutex_destroy(&line->lock);
}

void interrupt_line_pulse(struct interrupt_line *line)
{
    pthread_mutex_lock(&line->lock);
    if (line->raise)
        line->raise(line->context, line->gsi);
    else
        eventfd_write(line->event_fd, 1);
    pthread_mutex_unlock(&line->lock);
}

void interrupt_line_set_raise(struct interrupt_line *line, interrupt_raise *raise, void *context,
                              uint32_t gsi)
{
    pthread_mutex_lock(&line->lock);
    line->raise = raise;
    line->context = context;
    line->gsi = gsi;
    pthread_mutex_unlock(&line->lock);
}
