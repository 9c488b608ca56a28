/*
 * A doorbell that guests ring: an eventfd, usually an ioeventfd, and for those who ring it in this
 * process (the kernel-mode engine) a function that may do at once, on their thread, what the bell
 * asks for.
 */
#ifndef TSVM_DOORBELL_H
#define TSVM_DOORBELL_H

#include <pthread.h>
#include <stdbool.h>

/* Returns false if the eventfd is to be signalled. Must not block. */
typedef bool doorbell_answer(void *context);

struct doorbell {
    int event_fd;
    pthread_mutex_t lock; /* protects the fields below */
    doorbell_answer *answer;
    void *context;
};

void doorbell_init(struct doorbell *bell, int event_fd);
void doorbell_destroy(struct doorbell *bell);

/* From any thread. */
void doorbell_ring(struct doorbell *bell);

/* Sets the function; NULL: none. On return, the previous function is not in use. */
void doorbell_set_answer(struct doorbell *bell, doorbell_answer *answer, void *context);

#endif
