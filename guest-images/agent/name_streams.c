#include "name_streams.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dns_message.h"
#include "loop.h"
#include "protocol.h"
#include "vsock.h"

// Further connections wait.
#define CONNECTIONS_MAX 32
// How long a client may take for a question, and its answer may take, in s.
#define PATIENCE_S 20
#define LENGTH_BYTES 2

static const struct name_servers *name_servers;
static struct watch listener, children;
static unsigned connections;

// A message behind its length, as TCP carries it.
struct framed {
    uint8_t length[LENGTH_BYTES];
    uint8_t message[DNS_MESSAGE_BYTES_MAX];
};

static struct framed query, answer;

static size_t length_of(const struct framed *framed)
{
    return (size_t)(framed->length[0] << 8 | framed->length[1]);
}

static bool read_all(int fd, uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t count = read(fd, data, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        data += count;
        length -= (size_t)count;
    }
    return true;
}

static bool read_message(int fd, struct framed *framed)
{
    return read_all(fd, framed->length, LENGTH_BYTES) &&
           read_all(fd, framed->message, length_of(framed));
}

static bool write_message(int fd, const struct framed *framed)
{
    return write_all(fd, framed, LENGTH_BYTES + length_of(framed)) == 0;
}

static bool exchange(int fd)
{
    return fd >= 0 && write_message(fd, &query) && read_message(fd, &answer) &&
           dns_is_answer(answer.message, length_of(&answer), query.message, length_of(&query));
}

static bool ask_server(const struct address *server, bool is_last)
{
    int fd = name_server_open(server, SOCK_STREAM);
    bool is_answered = exchange(fd);
    if (fd >= 0)
        close(fd);
    return is_answered && (is_last || !dns_has_failed(answer.message));
}

static void fail_query(void)
{
    uint8_t code = name_servers->count == 0 ? DNS_NO_SUCH_NAME : DNS_SERVER_FAILURE;
    answer = query;
    size_t length = dns_fail(answer.message, length_of(&query), code);
    answer.length[0] = (uint8_t)(length >> 8);
    answer.length[1] = (uint8_t)length;
}

static void find_answer(int host_fd)
{
    if (exchange(host_fd) && dns_code(answer.message) != DNS_REFUSED)
        return;
    for (size_t i = 0; i < name_servers->count; i++) {
        if (ask_server(&name_servers->addresses[i], i + 1 == name_servers->count))
            return;
    }
    fail_query();
}

static void set_blocking(int fd)
{
    // The patience of all is this process's, which SIGALRM ends.
    fcntl(fd, F_SETFL, 0);
}

static _Noreturn void serve(int client_fd)
{
    int host_fd = vsock_dial(NAMES_STREAM_PORT);
    if (host_fd >= 0)
        set_blocking(host_fd);
    alarm(PATIENCE_S);
    while (read_message(client_fd, &query) && dns_is_query(query.message, length_of(&query))) {
        alarm(PATIENCE_S);
        find_answer(host_fd);
        if (!write_message(client_fd, &answer))
            break;
        alarm(PATIENCE_S);
    }
    _exit(0);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    int client_fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (client_fd < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        serve(client_fd);
    close(client_fd);
    if (pid > 0 && ++connections == CONNECTIONS_MAX)
        loop_change(&listener, 0);
}

static void children_ready(struct watch *watch, uint32_t events)
{
    struct signalfd_siginfo info;
    (void)events;
    (void)!read(watch->fd, &info, sizeof info);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        connections--;
    loop_change(&listener, EPOLLIN);
}

int name_streams_open(int listener_fd, const struct name_servers *servers)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    // The agent has blocked it.
    int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    name_servers = servers;
    children = (struct watch){.fd = fd, .ready = children_ready};
    listener = (struct watch){.fd = listener_fd, .ready = listener_ready};
    int result = loop_add(&children, EPOLLIN);
    return result < 0 ? result : loop_add(&listener, EPOLLIN);
}
