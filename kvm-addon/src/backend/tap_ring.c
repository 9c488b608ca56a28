#include "tap_ring.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ring_register(const struct io_uring *ring, unsigned what, const void *list,
                         unsigned count)
{
    return syscall(SYS_io_uring_register, ring->ring_fd, what, list, count) < 0 ? -errno : 0;
}

/* For good: nothing else, whoever has taken over the thread. */
static int ring_restrict(struct io_uring *ring)
{
    const struct io_uring_restriction list[] = {
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
        {.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
        {.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS},
    };
    int error =
        ring_register(ring, IORING_REGISTER_RESTRICTIONS, list, sizeof list / sizeof list[0]);
    return error < 0 ? error : ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

void tap_ring_init(struct tap_ring *ring, int fd)
{
    /* Not tied to a thread: each driver has a thread of its own. */
    struct io_uring_params params = {.flags = IORING_SETUP_R_DISABLED};
    ring->fd = fd;
    ring->count = 0;
    ring->exists = io_uring_queue_init_params(TAP_RING_FRAMES, &ring->ring, &params) == 0;
    /* Before 5.12 io_uring's kernel threads did not belong to this process nor obey its limits. */
    ring->works = ring->exists && ring->ring.features & IORING_FEAT_NATIVE_WORKERS &&
                  ring_restrict(&ring->ring) == 0;
}

void tap_ring_destroy(struct tap_ring *ring)
{
    if (ring->exists)
        io_uring_queue_exit(&ring->ring);
    ring->exists = ring->works = false;
}

static void entry_add(struct tap_ring *ring, int operation, const struct iovec *iov, unsigned count)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&ring->ring);
    /* Not in a table of the ring's files, which the kernel gives up only some time after the
     * process has ended: the device would be busy for the next one. */
    io_uring_prep_rw(operation, entry, ring->fd, iov, count, 0);
    /* Otherwise the kernel would wait on a thread of its own, and the order would be lost. */
    entry->rw_flags = RWF_NOWAIT;
    entry->user_data = ring->count;
    ring->results[ring->count++] = TAP_RING_UNTRIED;
}

void tap_ring_add_read(struct tap_ring *ring, const struct iovec *iov, unsigned count)
{
    entry_add(ring, IORING_OP_READV, iov, count);
}

void tap_ring_add_write(struct tap_ring *ring, const struct iovec *iov, unsigned count)
{
    entry_add(ring, IORING_OP_WRITEV, iov, count);
}

static unsigned results_take(struct tap_ring *ring)
{
    struct io_uring_cqe *completion;
    unsigned head, count = 0;
    io_uring_for_each_cqe(&ring->ring, head, completion)
    {
        ring->results[completion->user_data] = completion->res;
        count++;
    }
    io_uring_cq_advance(&ring->ring, count);
    return count;
}

void tap_ring_run(struct tap_ring *ring)
{
    unsigned count = ring->count;
    ring->count = 0;
    int submitted = io_uring_submit(&ring->ring);
    unsigned done = results_take(ring);
    if (submitted == (int)count && done == count)
        return;
    /* The kernel has no memory. Wait for what it has, whose buffers it uses, and leave the ring,
     * which still has the other entries. */
    for (unsigned pending = submitted > 0 ? (unsigned)submitted - done : 0; pending > 0;) {
        struct io_uring_cqe *completion;
        if (io_uring_wait_cqe(&ring->ring, &completion) == 0)
            pending -= results_take(ring);
    }
    ring->works = false;
}
