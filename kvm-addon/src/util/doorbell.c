#include "doorbell.h"

#include <stddef.h>
#include <sys/eventfd.h>

void doorbell_init(struct doorbell *bell, int event_fd)
{
    *bell = (struct doorbell){.event_fd = event_fd};
    pthread_mutex_init(&bell->lock, NULL);
}

void doorbell_destroy(struct doorbell *bell)
{
    pthread_mutex_destroy(&bell->lock);
}

/* Does not wait for an answer that another thread is giving: it may have looked already. */
static bool answered(struct doorbell *bell)
{
    if (pthread_mutex_trylock(&bell->lock) != 0)
        return false;
    bool done = bell->answer && bell->answer(bell->context);
    pthread_mutex_unlock(&bell->lock);
    return done;
}

void doorbell_ring(struct doorbell *bell)
{
    if (!answered(bell))
        eventfd_write(bell->event_fd, 1);
}

void doorbell_set_answer(struct doorbell *bell, doorbell_answer *answer, void *context)
{
    pthread_mutex_lock(&bell->lock);
    bell->answer = answer;
    bell->context = context;
    pthread_mutex_unlock(&bell->lock);
}
