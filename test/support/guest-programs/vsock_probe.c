/*
 * What a program of a container gets when it tries to connect by vsock, a line for each attempt.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define AGENT_PORT 1024

static void attempt(const char *name, unsigned cid)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = AGENT_PORT};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    int failed = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0;
    const char *denied = errno == EPERM ? "not permitted" : "no socket";
    printf("%s: %s\n", name, fd < 0 ? denied : failed ? "no connection" : "connected");
    if (fd >= 0)
        close(fd);
}

int main(void)
{
    attempt("host", VMADDR_CID_HOST);
    attempt("local", VMADDR_CID_LOCAL);
    attempt("own", 3);
    return 0;
}
