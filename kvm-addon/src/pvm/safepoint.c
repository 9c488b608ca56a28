#include "safepoint.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "code_cache.h"
#include "counters.h"
#include "engine.h"
#include "tlb.h"

enum request_kind {
    REQUEST_DROP_WRITES,     /* TLB write entries of a frame */
    REQUEST_INVALIDATE_CODE, /* decoded code of a frame */
    REQUEST_DROP_ALL_WRITES,
};

struct request {
    enum request_kind kind;
    uint64_t frame;
};

struct cpu_requests {
    /*
     * The owner sets `inside`, then looks for requests; a poster posts, then looks at `inside`:
     * one of the two sees the other.
     */
    uint32_t inside; /* atomic */
    uint64_t posted; /* atomic: number of the last request */
    uint64_t served; /* atomic: up to which number they were taken */
    pthread_mutex_t lock;
    unsigned count;  /* from here: under the lock */
    bool overflowed; /* there were too many: drop everything */
    struct request queue[SAFEPOINT_REQUESTS_MAX];
};

int safepoint_init(struct cpu *cpu)
{
    cpu->requests = calloc(1, sizeof(*cpu->requests));
    if (!cpu->requests)
        return -ENOMEM;
    pthread_mutex_init(&cpu->requests->lock, NULL);
    return 0;
}

void safepoint_destroy(struct cpu *cpu)
{
    if (!cpu->requests)
        return;
    pthread_mutex_destroy(&cpu->requests->lock);
    free(cpu->requests);
    cpu->requests = NULL;
}

static void execute(struct cpu *cpu, const struct request *request)
{
    switch (request->kind) {
    case REQUEST_DROP_WRITES:
        tlb_drop_frame_writes(cpu, request->frame);
        break;
    case REQUEST_INVALIDATE_CODE:
        code_invalidate_frame(cpu, request->frame);
        break;
    case REQUEST_DROP_ALL_WRITES:
        tlb_drop_writes(cpu);
        break;
    }
}

void safepoint_serve(struct cpu *cpu)
{
    struct cpu_requests *requests = cpu->requests;
    cpu_attended(cpu, ATTENTION_REQUESTS);
    while (__atomic_load_n(&requests->posted, __ATOMIC_SEQ_CST) !=
           __atomic_load_n(&requests->served, __ATOMIC_RELAXED)) {
        struct request queue[SAFEPOINT_REQUESTS_MAX];
        pthread_mutex_lock(&requests->lock);
        unsigned count = requests->count;
        bool overflowed = requests->overflowed;
        uint64_t last = requests->posted;
        for (unsigned i = 0; i < count; i++)
            queue[i] = requests->queue[i];
        requests->count = 0;
        requests->overflowed = false;
        pthread_mutex_unlock(&requests->lock);
        for (unsigned i = 0; i < count && !overflowed; i++)
            execute(cpu, &queue[i]);
        if (overflowed) {
            tlb_drop_writes(cpu);
            code_invalidate_all(cpu);
        }
        __atomic_store_n(&requests->served, last, __ATOMIC_SEQ_CST);
    }
}

void safepoint_enter(struct cpu *cpu)
{
    __atomic_store_n(&cpu->requests->inside, 1, __ATOMIC_SEQ_CST);
    safepoint_serve(cpu);
}

void safepoint_exit(struct cpu *cpu)
{
    __atomic_store_n(&cpu->requests->inside, 0, __ATOMIC_SEQ_CST);
}

/* Returns the number of the request, to wait for. */
static uint64_t post(struct cpu *target, enum request_kind kind, uint64_t frame)
{
    struct cpu_requests *requests = target->requests;
    pthread_mutex_lock(&requests->lock);
    bool known = requests->overflowed;
    for (unsigned i = 0; i < requests->count && !known; i++)
        known = requests->queue[i].kind == kind && requests->queue[i].frame == frame;
    if (!known && requests->count == SAFEPOINT_REQUESTS_MAX)
        requests->overflowed = true;
    else if (!known)
        requests->queue[requests->count++] = (struct request){kind, frame};
    uint64_t number = requests->posted + 1;
    __atomic_store_n(&requests->posted, number, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&requests->lock);
    cpu_attract(target, ATTENTION_REQUESTS);
    return number;
}

/*
 * Whether the target no longer uses what it was asked to drop: it has served the request, or will
 * do so before it goes inside.
 */
static bool is_done(const struct cpu *target, uint64_t number)
{
    const struct cpu_requests *requests = target->requests;
    return __atomic_load_n(&requests->served, __ATOMIC_SEQ_CST) >= number ||
           !__atomic_load_n(&requests->inside, __ATOMIC_SEQ_CST);
}

/*
 * `cpu` is the waiting vCPU, or NULL; it serves its own requests, because others may wait for it.
 */
static void await(struct cpu *cpu, const struct cpu *target, uint64_t number)
{
    /* A running target checks at each taken jump; a descheduled one needs this core. */
    for (unsigned tries = 0; !is_done(target, number); tries++) {
        if (cpu)
            safepoint_serve(cpu);
        if (tries < 200)
            __builtin_ia32_pause();
        else if (tries < 300)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
}

void safepoint_protect_frame(struct cpu *cpu, uint64_t frame)
{
    struct engine *engine = cpu->engine;
    struct frame *flags = &engine->frames.of[frame];
    uint32_t self = 1u << cpu->index;
    uint32_t writers = __atomic_load_n(&flags->write_cpus, __ATOMIC_SEQ_CST);
    if (writers & self)
        tlb_drop_frame_writes(cpu, frame);
    writers &= ~self;
    if (!writers)
        return;
    uint64_t numbers[ENGINE_CPUS_MAX];
    cpu->counters->frame_protections++;
    for (unsigned i = 0; i < engine->cpu_count; i++)
        if (writers & 1u << i)
            numbers[i] = post(engine->cpus[i], REQUEST_DROP_WRITES, frame);
    for (unsigned i = 0; i < engine->cpu_count; i++)
        if (writers & 1u << i)
            await(cpu, engine->cpus[i], numbers[i]);
}

void safepoint_invalidate_code(struct engine *engine, struct cpu *cpu, uint64_t frame)
{
    struct frame *flags = &engine->frames.of[frame];
    uint32_t self = cpu ? 1u << cpu->index : 0;
    /*
     * Posting clears the others' bits: whatever they decode until they serve the request is dropped
     * then, and later decoding sets the bit again.
     */
    uint32_t holders = __atomic_fetch_and(&flags->code_cpus, self, __ATOMIC_SEQ_CST);
    if (holders & self)
        code_invalidate_frame(cpu, frame);
    for (unsigned i = 0; i < engine->cpu_count; i++)
        if (holders & ~self & 1u << i)
            post(engine->cpus[i], REQUEST_INVALIDATE_CODE, frame);
}

void safepoint_drop_writes(struct engine *engine)
{
    uint64_t numbers[ENGINE_CPUS_MAX];
    unsigned count = engine->cpu_count;
    for (unsigned i = 0; i < count; i++)
        numbers[i] = post(engine->cpus[i], REQUEST_DROP_ALL_WRITES, 0);
    for (unsigned i = 0; i < count; i++)
        await(NULL, engine->cpus[i], numbers[i]);
}
