/*
 * An engine that can read what is in the page cache at once, on a thread that is not the one that
 * serves the inner engine, and leaves everything else to that one.
 */
#ifndef TSVM_IO_ENGINE_CACHED_H
#define TSVM_IO_ENGINE_CACHED_H

#include "io_engine.h"

struct io_op_list {
    struct io_op *first;
    struct io_op *last;
};

struct io_engine_cached {
    struct io_engine base;
    struct io_engine *inner;
    bool at_once;            /* set for the turns of another thread */
    bool refused;            /* a file cannot be read without waiting: not tried again */
    struct io_op_list read;  /* complete, not reaped */
    struct io_op_list later; /* submitted on another thread, for the inner engine */
    uint64_t others;         /* operations submitted that cannot be tried at once */
};

/* Owns `inner`. */
void io_engine_cached_init(struct io_engine_cached *engine, struct io_engine *inner);

/*
 * While set, submitted reads are tried at once, reap returns those that succeeded, and the inner
 * engine is left alone: io_engine_has_completions() is true as long as there is work for it.
 * Threads that take turns with the engine exclude each other.
 */
void io_engine_cached_set_at_once(struct io_engine_cached *engine, bool at_once);

#endif
