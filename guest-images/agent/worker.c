#include "worker.h"

#include <unistd.h>

#include "message.h"
#include "vsock.h"

static void send_failure(int fd, const struct failure *failure)
{
    struct message message = {0};
    if (message_failure(&message, failure) == 0)
        write_all(fd, message.data, message.length);
    message_free(&message);
}

void worker_start(int connection_fd, const struct frame_reader *request)
{
    struct failure failure;
    fail(&failure, ERROR_INVALID_REQUEST, 0, "unknown request %d", request->type);
    send_failure(connection_fd, &failure);
    close(connection_fd);
}
