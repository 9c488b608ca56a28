/*
 * Moves an archive between a pipe and a connection to the guest agent, whose frames
 * guest-images/agent/protocol.h describes: data in frames of its own, a frame without data as its
 * end, and one last frame with the agent's answer. What the guest sends is not trusted.
 */
#ifndef TSVM_ARCHIVE_PUMP_H
#define TSVM_ARCHIVE_PUMP_H

#include <stdbool.h>
#include <stdint.h>

#define ARCHIVE_ANSWER_BYTES_MAX (256u << 10)

/* The last frame. */
struct archive_answer {
    uint8_t type;
    bool whole;       /* the end of the data came before it */
    uint8_t *payload; /* to be freed; may be NULL without bytes */
    uint32_t length;
    uint64_t moved; /* bytes of the archive */
};

/*
 * Both block until the answer is there, and close nothing. `connection` may be non-blocking. Return
 * 0; -ECONNRESET if the connection ends before the answer, -EBADMSG if what comes is no such frame,
 * -EPIPE if nobody reads the pipe, or another -errno. archive_pump_out() gives up with -ETIMEDOUT
 * when nothing comes for two minutes at the beginning.
 */
int archive_pump_out(int connection, int pipe, struct archive_answer *answer);
/* An answer that comes early ends it: the rest of the pipe is not read. */
int archive_pump_in(int pipe, int connection, struct archive_answer *answer);

#endif
