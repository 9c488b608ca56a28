#include "progress.h"

enum progress progress_after(enum delivery delivery)
{
    switch (delivery) {
    case DELIVERED:
        return PROGRESS;
    case DELIVERY_STOPPED:
        return PROGRESS_STOPPED;
    case DELIVERY_SHUTDOWN:
        break;
    }
    return PROGRESS_SHUTDOWN;
}

enum progress progress_deliver(struct cpu *cpu, const struct cpu_exception *exception)
{
    return progress_after(exception_deliver(cpu, exception));
}
