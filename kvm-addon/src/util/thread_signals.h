/* Signals of threads that run none of JavaScript. */
#ifndef TSVM_THREAD_SIGNALS_H
#define TSVM_THREAD_SIGNALS_H

#include <signal.h>

/*
 * The signals that such a thread blocks: JavaScript's thread handles those of the process. The
 * others come from the thread's own instructions, and one that is blocked would end the process
 * without its handler. SIGBUS has one: an access beyond the end of a file that is guest memory
 * (memory/file_mapping.h).
 */
static inline void thread_signals_fill(sigset_t *blocked)
{
    sigfillset(blocked);
    sigdelset(blocked, SIGBUS);
    sigdelset(blocked, SIGSEGV);
    sigdelset(blocked, SIGILL);
    sigdelset(blocked, SIGFPE);
}

#endif
