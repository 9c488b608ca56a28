#include "queue_worker.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "../util/clock.h"
#include "../util/thread_signals.h"

/*
 * Maximum number of chains taken from a queue in one turn, unless its handler has one. The driver
 * gets the first ones back, and works on them, while the next ones are served.
 */
#define TURN_CHAINS 16
/* A kick for more chains is left to the worker, which serves them while the driver continues. */
#define AT_ONCE_CHAINS 2
/*
 * After so many turns in a row that a kicking thread could have taken, the worker sleeps without
 * polling, so that it takes the next ones. Polling would find the next request each time, as long
 * as a driver has several in flight, and each turn of the worker interrupts the vCPU, which costs
 * the kernel-mode engine more than the request (moderation.h).
 */
#define SMALL_TURNS_MAX 8

/*
 * Upper bound of busy polling. A sleep costs the guest an exit for the kick, and this thread a
 * wake-up. On a host that is itself a virtual machine, each takes about 25 us, so that a driver
 * that issues one request at a time needs 100 us per request. KVM polls twice as long for a halted
 * vCPU.
 */
#define POLL_NS_MAX 100000
/* Wake-up latency of a sleeping worker. */
#define WAKE_NS 25000
/* Polling for less than this is not worth it. */
#define POLL_NS_MIN 4000
/* Number of looks at the rings between two readings of the clock. */
#define POLL_SPINS 16
/* More time than this passes between two readings only if another thread used this core. */
#define PREEMPTED_NS 50000

/*
 * A short sleep in which work gathers. The kernel makes it up to twice as long. It is shorter than
 * the time in which a network of 10 Gbit/s fills a queue of 256 frames.
 */
#define GATHER_NS 50000
/* Work gathers if it arrives in shorter intervals, on average. */
#define GATHERED_NS_MAX 100000
/* So much work after a rest makes up for the time that waking the worker takes. */
#define GATHERED_ENOUGH 64

/*
 * While there are chains to serve, the event loop is asked this often: a system call in each turn
 * would take a tenth of the time of a network device under load.
 */
#define EVENTS_PERIOD_NS 50000

#define INTERRUPT_USED_BUFFER 1u /* virtio 1.2, 4.2.2: InterruptStatus, bit 0 */

static bool stop_requested(const struct queue_worker *worker)
{
    return __atomic_load_n(&worker->stop, __ATOMIC_RELAXED);
}

const char *queue_worker_broken(const struct queue_worker *worker)
{
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        if (worker->queues[i].broken)
            return worker->queues[i].broken;
    }
    return NULL;
}

static bool is_wanted(const struct queue_worker *worker, const struct virtqueue *queue)
{
    struct queue_handler *handler = worker->options.handler;
    return !handler->wants || handler->wants(handler, queue);
}

static bool chains_available(const struct queue_worker *worker)
{
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        const struct virtqueue *queue = &worker->queues[i];
        if (virtqueue_has_available(queue) && is_wanted(worker, queue))
            return true;
    }
    return false;
}

static bool chains_in_flight(const struct queue_worker *worker)
{
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        if (worker->queues[i].in_flight > 0)
            return true;
    }
    return false;
}

/* Chains that are available and not yet taken. */
static unsigned chains_waiting(const struct queue_worker *worker)
{
    unsigned waiting = 0;
    for (unsigned i = 0; i < worker->options.queue_count; i++)
        waiting += virtqueue_available(&worker->queues[i]);
    return waiting;
}

static unsigned queues_serve(struct queue_worker *worker)
{
    struct queue_handler *handler = worker->options.handler;
    unsigned max = handler->turn_chains ? handler->turn_chains : TURN_CHAINS;
    unsigned taken = 0;
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        struct virtqueue *queue = &worker->queues[i];
        if (!is_wanted(worker, queue))
            continue;
        unsigned chains = handler->serve(handler, queue, max);
        counter_add(&worker->statistics.queues[queue->index].chains, chains);
        taken += chains;
    }
    counter_add(&worker->statistics.chains, taken);
    return taken;
}

static void queues_publish(struct queue_worker *worker)
{
    const struct queue_worker_options *options = &worker->options;
    uint64_t raised = 0; /* one bit per interrupt */
    for (unsigned i = 0; i < options->queue_count; i++) {
        struct virtqueue *queue = &worker->queues[i];
        if (!virtqueue_publish(queue) || queue->interrupt < 0)
            continue;
        raised |= 1ull << queue->interrupt;
        counter_add(&worker->statistics.queues[queue->index].notifications, 1);
    }
    if (raised == 0)
        return;
    /* The interrupt handler reads the status first, so it must be set before the handler runs. */
    if (options->interrupt_status)
        __atomic_fetch_or(options->interrupt_status, INTERRUPT_USED_BUFFER, __ATOMIC_SEQ_CST);
    for (; raised != 0; raised &= raised - 1) {
        interrupt_line_pulse(options->interrupts[__builtin_ctzll(raised)]);
        counter_add(&worker->statistics.interrupts, 1);
    }
}

static void kicks_disable(struct queue_worker *worker)
{
    if (!worker->kicks_on)
        return;
    worker->kicks_on = false;
    for (unsigned i = 0; i < worker->options.queue_count; i++)
        virtqueue_disable_kicks(&worker->queues[i]);
}

static void kicks_enable(struct queue_worker *worker)
{
    worker->kicks_on = true;
    for (unsigned i = 0; i < worker->options.queue_count; i++) {
        if (is_wanted(worker, &worker->queues[i]))
            virtqueue_enable_kicks(&worker->queues[i]);
    }
}

/* Before a sleep: from now on, new work must wake the worker. */
static void events_enable(struct queue_worker *worker, bool stopping)
{
    if (!stopping)
        kicks_enable(worker);
    if (worker->options.engine)
        io_engine_set_events(worker->options.engine, true);
}

static void events_disable(struct queue_worker *worker)
{
    kicks_disable(worker);
    if (worker->options.engine)
        io_engine_set_events(worker->options.engine, false);
}

static bool has_work(struct queue_worker *worker, bool stopping)
{
    struct queue_handler *handler = worker->options.handler;
    struct io_engine *engine = worker->options.engine;
    if (engine && io_engine_has_completions(engine))
        return true;
    if (handler->has_answers && handler->has_answers(handler))
        return true;
    return !stopping && (chains_available(worker) || stop_requested(worker));
}

/* Polls for poll_ns from `start` on. Returns true if there is work. */
static bool poll_for_work(struct queue_worker *worker, bool stopping, uint64_t start)
{
    for (uint64_t now = start; now - start < worker->poll_ns;) {
        for (unsigned i = 0; i < POLL_SPINS; i++) {
            if (has_work(worker, stopping))
                return true;
            __builtin_ia32_pause();
        }
        if (event_loop_has_callbacks(&worker->loop) && event_loop_poll(&worker->loop) > 0)
            return true;
        uint64_t before = now;
        now = now_ns();
        if (now - before > PREEMPTED_NS)
            worker->poll_ns = 0; /* another thread, probably a vCPU, had to wait for this one:
                                  * leave it the core */
    }
    return false;
}

/* Work arrived `idle_ns` after the last work, with a sleep in between. */
static void poll_adapt(struct queue_worker *worker, uint64_t idle_ns)
{
    if (idle_ns > POLL_NS_MAX + WAKE_NS) {
        worker->poll_ns = worker->poll_ns / 2 < POLL_NS_MIN ? 0 : worker->poll_ns / 2;
    } else if (worker->poll_ns < POLL_NS_MIN) {
        worker->poll_ns = POLL_NS_MIN;
    } else {
        worker->poll_ns = worker->poll_ns * 2 > POLL_NS_MAX ? POLL_NS_MAX : worker->poll_ns * 2;
    }
}

static bool handler_waits(const struct queue_worker *worker)
{
    struct queue_handler *handler = worker->options.handler;
    return handler->waits && handler->waits(handler);
}

/* While the worker's thread sleeps, other threads may take turns. */
static void turn_yield(struct queue_worker *worker)
{
    worker->sleeping = true;
    pthread_mutex_unlock(&worker->turn);
}

static void turn_take(struct queue_worker *worker)
{
    pthread_mutex_lock(&worker->turn);
    worker->sleeping = false;
}

/* Whether the worker should sleep for a moment without being woken by the work that arrives. */
static bool work_gathers(const struct queue_worker *worker)
{
    struct queue_handler *handler = worker->options.handler;
    return worker->served < GATHERED_ENOUGH &&
           worker->served * (uint64_t)GATHERED_NS_MAX > worker->rest_ns && handler->gathers &&
           handler->gathers(handler);
}

static void worker_gather(struct queue_worker *worker)
{
    const struct timespec moment = {.tv_nsec = GATHER_NS};
    counter_add(&worker->statistics.gathers, 1);
    nanosleep(&moment, NULL);
    event_loop_poll(&worker->loop);
}

/* Sleeps until there is work. */
static void worker_sleep(struct queue_worker *worker, bool stopping)
{
    events_enable(worker, stopping);
    /*
     * The last wait may have consumed the event of work that arrived after the last look, so look
     * again. Work that arrives from now on causes a new event, which ends the wait immediately.
     */
    if (!has_work(worker, stopping)) {
        counter_add(&worker->statistics.sleeps, 1);
        turn_yield(worker);
        int events = event_loop_sleep(&worker->loop);
        turn_take(worker);
        event_loop_deliver(&worker->loop, events);
    }
    events_disable(worker);
}

/* Whether kicking threads should take the next turns. */
static bool kickers_take_over(const struct queue_worker *worker)
{
    return worker->small_turns >= SMALL_TURNS_MAX;
}

/* Polls, then sleeps, until there is work. */
static void worker_rest(struct queue_worker *worker, bool stopping)
{
    uint64_t start = now_ns(), sleeps = worker->statistics.sleeps;
    bool waits = handler_waits(worker);
    if (!stopping && work_gathers(worker)) {
        worker_gather(worker);
    } else if (!waits && worker->poll_ns > 0 && !kickers_take_over(worker) &&
               poll_for_work(worker, stopping, start)) {
        counter_add(&worker->statistics.poll_hits, 1);
        return;
    } else {
        worker_sleep(worker, stopping);
    }
    worker->rest_ns = now_ns() - start;
    worker->served = 0;
    if (worker->statistics.sleeps == sleeps)
        return;
    worker->small_turns = 0;
    if (!waits)
        poll_adapt(worker, worker->rest_ns);
}

/* One turn. Returns the amount of work that was found. */
static unsigned worker_turn(struct queue_worker *worker, bool stopping)
{
    struct queue_handler *handler = worker->options.handler;
    struct io_engine *engine = worker->options.engine;
    unsigned done = stopping ? 0 : queues_serve(worker);
    if (handler->exchange)
        done += handler->exchange(handler);
    if (engine) {
        io_engine_send(engine);
        done += io_engine_reap(engine);
    }
    queues_publish(worker);
    return done;
}

/* One turn of the worker's own thread, which finds out whether others could take such turns. */
static unsigned worker_turn_own(struct queue_worker *worker, bool stopping)
{
    uint64_t chains = worker->statistics.chains, interrupts = worker->statistics.interrupts;
    uint64_t others = worker->cached.others;
    unsigned done = worker_turn(worker, stopping);
    chains = worker->statistics.chains - chains;
    bool is_small = chains > 0 && chains <= AT_ONCE_CHAINS && !chains_in_flight(worker) &&
                    worker->cached.others == others;
    bool interrupted = worker->statistics.interrupts != interrupts;
    /* Nobody kicks from this process where KVM runs the whole guest. */
    if (is_small && interrupted && worker->statistics.at_once > 0)
        worker->small_turns++;
    else if (done > 0)
        worker->small_turns = 0;
    return done;
}

static void handler_stop(struct queue_worker *worker)
{
    struct queue_handler *handler = worker->options.handler;
    if (handler->stop)
        handler->stop(handler);
}

/* A turn on the thread that kicks. Returns false if work is left for the worker. */
static bool turn_at_once(struct queue_worker *worker)
{
    if (chains_in_flight(worker) || chains_waiting(worker) > AT_ONCE_CHAINS)
        return false;
    counter_add(&worker->statistics.at_once, 1);
    io_engine_cached_set_at_once(&worker->cached, true);
    worker_turn(worker, false);
    io_engine_cached_set_at_once(&worker->cached, false);
    /* Publishes in the ring which chain needs the next kick. */
    kicks_enable(worker);
    return !has_work(worker, false) && !queue_worker_broken(worker);
}

bool queue_worker_serve_kick(void *context)
{
    struct queue_worker *worker = context;
    if (!worker->options.handler->serves_kicks || pthread_mutex_trylock(&worker->turn) != 0)
        return false;
    bool served = worker->sleeping && !stop_requested(worker) && turn_at_once(worker);
    pthread_mutex_unlock(&worker->turn);
    return served;
}

/* Between two turns. */
static void events_poll(struct queue_worker *worker)
{
    if (!event_loop_has_callbacks(&worker->loop))
        return;
    uint64_t now = now_ns();
    if (now - worker->polled_ns < EVENTS_PERIOD_NS)
        return;
    worker->polled_ns = now;
    event_loop_poll(&worker->loop);
}

static void *worker_main(void *argument)
{
    struct queue_worker *worker = argument;
    struct io_engine *engine = worker->options.engine;
    pthread_setname_np(pthread_self(), worker->options.handler->name);
    sandbox_enter_thread(worker->options.handler->sandbox);
    turn_take(worker);
    if (engine)
        io_engine_attach(engine);
    worker->kicks_on = true;
    kicks_disable(worker);
    for (bool stopping = false;;) {
        unsigned done = worker_turn_own(worker, stopping);
        if (!stopping && (stop_requested(worker) || queue_worker_broken(worker))) {
            stopping = true;
            handler_stop(worker);
        }
        if (stopping && !chains_in_flight(worker))
            break;
        if (done == 0) {
            worker_rest(worker, stopping);
        } else {
            worker->served += done;
            events_poll(worker);
        }
    }
    /* Nothing is in flight, so nothing is written to guest memory after this. */
    if (engine)
        io_engine_destroy(engine);
    struct wake wake = worker->options.wake;
    pthread_mutex_unlock(&worker->turn);
    __atomic_store_n(&worker->ended, true, __ATOMIC_RELEASE);
    wake_notify(&wake);
    return NULL;
}

/* Kicks and completions only end a sleep. After it, the worker looks at the rings and the engine.
 */
static int source_add(struct queue_worker *worker, struct event_source *source, int fd)
{
    *source = (struct event_source){.fd = fd};
    return event_loop_add(&worker->loop, source, EPOLLIN | EPOLLET);
}

static int queue_init(struct queue_worker *worker, unsigned i)
{
    const struct queue_worker_options *options = &worker->options;
    const struct virtqueue_config *config = &options->queues[i];
    if (config->interrupt >= (int)options->interrupt_count ||
        config->index >= QUEUE_WORKER_QUEUES_MAX)
        return -EINVAL;
    int error = virtqueue_init(&worker->queues[i], options->memory, config);
    return error < 0 ? error : source_add(worker, &worker->kicks[i], options->kicks[i]);
}

/* Frees everything except the thread. */
static int worker_init(struct queue_worker *worker)
{
    const struct queue_worker_options *options = &worker->options;
    if (options->queue_count > QUEUE_WORKER_QUEUES_MAX ||
        options->interrupt_count > QUEUE_WORKER_INTERRUPTS_MAX)
        return -EINVAL;
    int error = event_loop_init(&worker->loop);
    if (error < 0)
        return error;
    for (unsigned i = 0; i < options->queue_count && error == 0; i++)
        error = queue_init(worker, i);
    if (error == 0 && options->engine)
        error = source_add(worker, &worker->completions, io_engine_event_fd(options->engine));
    if (error == 0)
        error = options->handler->start(options->handler, worker);
    if (error < 0)
        event_loop_destroy(&worker->loop);
    return error;
}

/* Other threads of the process handle signals. */
static int thread_start(struct queue_worker *worker)
{
    sigset_t blocked, before;
    thread_signals_fill(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

int queue_worker_start(struct queue_worker *worker, const struct queue_worker_options *options)
{
    struct queue_handler *handler = options->handler;
    *worker = (struct queue_worker){
        .options = *options, .poll_ns = POLL_NS_MAX, .statistics = worker->statistics};
    pthread_mutex_init(&worker->turn, NULL);
    if (options->engine) {
        io_engine_cached_init(&worker->cached, options->engine);
        worker->options.engine = &worker->cached.base;
    }
    int error = worker_init(worker);
    if (error == 0) {
        error = thread_start(worker);
        if (error < 0) {
            handler->free(handler);
            event_loop_destroy(&worker->loop);
        }
    }
    if (error < 0) {
        pthread_mutex_destroy(&worker->turn);
        if (options->engine)
            io_engine_destroy(options->engine);
    }
    return error;
}

void queue_worker_stop(struct queue_worker *worker)
{
    __atomic_store_n(&worker->stop, true, __ATOMIC_RELAXED);
    event_loop_wake(&worker->loop);
}

bool queue_worker_has_ended(const struct queue_worker *worker)
{
    return __atomic_load_n(&worker->ended, __ATOMIC_ACQUIRE);
}

void queue_worker_free(struct queue_worker *worker)
{
    pthread_join(worker->thread, NULL);
    worker->options.handler->free(worker->options.handler);
    event_loop_destroy(&worker->loop);
    pthread_mutex_destroy(&worker->turn);
}
