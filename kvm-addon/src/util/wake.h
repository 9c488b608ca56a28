/* A way to tell the JavaScript thread, from any thread, that there is something to look at. */
#ifndef TSVM_WAKE_H
#define TSVM_WAKE_H

struct wake {
    void (*notify)(void *context); /* cheap, never blocks, may be called from any thread */
    void *context;
};

static inline void wake_notify(const struct wake *wake)
{
    if (wake->notify)
        wake->notify(wake->context);
}

#endif
