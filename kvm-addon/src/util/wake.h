/* Notifies the JavaScript thread from any thread. */
#ifndef TSVM_WAKE_H
#define TSVM_WAKE_H

struct wake {
    void (*notify)(void *context); /* cheap and non-blocking; may be called from any thread */
    void *context;
};

static inline void wake_notify(const struct wake *wake)
{
    if (wake->notify)
        wake->notify(wake->context);
}

#endif
