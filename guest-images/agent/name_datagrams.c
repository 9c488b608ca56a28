#include "name_datagrams.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "dns_message.h"
#include "loop.h"
#include "name_streams.h"
#include "vsock.h"

// Questions that wait for their answers, of all clients.
#define QUESTIONS_MAX 128
// What is read of one socket in a row.
#define READS_MAX 32
#define TICK_MS 250
#define LENGTH_BYTES 2

struct question {
    struct watch server; // first: the socket to a name server; -1: the host is asked
    bool is_used;
    struct sockaddr_in client;
    uint16_t client_id;
    size_t next_server;
    uint64_t deadline_ms; // of the server
    size_t length;
    uint8_t message[DNS_QUERY_BYTES_MAX];
};

static struct question questions[QUESTIONS_MAX];
static const struct name_servers *name_servers;
static struct watch clients, host, clock_watch;
static bool has_clock; // it ticks
// What the host has sent of an answer, and what others answer.
static uint8_t host_buffer[LENGTH_BYTES + DNS_MESSAGE_BYTES_MAX];
static size_t host_length;
static uint8_t answer_buffer[DNS_MESSAGE_BYTES_MAX];

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tick(bool on)
{
    struct timespec period = {.tv_nsec = on ? TICK_MS * 1000000 : 0};
    if (has_clock != on)
        timerfd_settime(clock_watch.fd, 0, &(struct itimerspec){period, period}, NULL);
    has_clock = on;
}

static void question_free(struct question *question)
{
    loop_close(&question->server);
    question->is_used = false;
    loop_change(&clients, EPOLLIN);
}

static void question_reply(struct question *question, uint8_t *answer, size_t length)
{
    dns_set_id(answer, question->client_id);
    sendto(clients.fd, answer, length, MSG_DONTWAIT | MSG_NOSIGNAL,
           (struct sockaddr *)&question->client, sizeof question->client);
    question_free(question);
}

static void question_fail(struct question *question)
{
    uint8_t code = name_servers->count == 0 ? DNS_NO_SUCH_NAME : DNS_SERVER_FAILURE;
    size_t length = dns_fail(question->message, question->length, code);
    question_reply(question, question->message, length);
}

static void server_ready(struct watch *watch, uint32_t events);

static bool ask_server(struct question *question, const struct address *server)
{
    uint16_t id;
    int fd = name_server_open(server, SOCK_DGRAM | SOCK_NONBLOCK);
    if (fd < 0)
        return false;
    // With the port, which is a new one as well, what those who do not see the question must guess.
    if (getrandom(&id, sizeof id, 0) != sizeof id)
        id = (uint16_t)now_ms();
    dns_set_id(question->message, id);
    question->server = (struct watch){.fd = fd, .ready = server_ready};
    question->deadline_ms = now_ms() + NAME_SERVER_PATIENCE_MS;
    if (send(fd, question->message, question->length, MSG_NOSIGNAL) == (ssize_t)question->length &&
        loop_add(&question->server, EPOLLIN) == 0)
        return true;
    question->server.events = 0;
    loop_close(&question->server);
    return false;
}

static void ask_next_server(struct question *question)
{
    loop_close(&question->server);
    while (question->next_server < name_servers->count) {
        if (ask_server(question, &name_servers->addresses[question->next_server++])) {
            tick(true);
            return;
        }
    }
    question_fail(question);
}

// Another name server may know better.
static bool is_final(const struct question *question, const uint8_t *answer)
{
    return !dns_has_failed(answer) || question->next_server == name_servers->count;
}

static void server_ready(struct watch *watch, uint32_t events)
{
    struct question *question = (struct question *)watch;
    (void)events;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t count = recv(watch->fd, answer_buffer, sizeof answer_buffer, MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        // Nobody is there.
        if (count < 0) {
            ask_next_server(question);
            return;
        }
        if (!dns_is_answer(answer_buffer, (size_t)count, question->message, question->length))
            continue;
        if (is_final(question, answer_buffer))
            question_reply(question, answer_buffer, (size_t)count);
        else
            ask_next_server(question);
        return;
    }
}

static void clock_ready(struct watch *watch, uint32_t events)
{
    uint64_t ticks, now = now_ms();
    bool is_waiting = false;
    (void)events;
    (void)!read(watch->fd, &ticks, sizeof ticks);
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *question = &questions[i];
        if (question->is_used && question->server.fd >= 0 && question->deadline_ms <= now)
            ask_next_server(question);
        is_waiting |= question->is_used && question->server.fd >= 0;
    }
    tick(is_waiting);
}

static void take_host_answer(uint8_t *answer, size_t length)
{
    if (length < DNS_HEADER_BYTES)
        return;
    size_t index = dns_id(answer);
    struct question *question = index < QUESTIONS_MAX ? &questions[index] : NULL;
    if (question == NULL || !question->is_used || question->server.fd >= 0)
        return;
    if (dns_code(answer) == DNS_REFUSED)
        ask_next_server(question);
    else
        question_reply(question, answer, length);
}

static void host_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    ssize_t count =
        recv(watch->fd, host_buffer + host_length, sizeof host_buffer - host_length, MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR))
        _exit(1); // the machine ends
    host_length += count > 0 ? (size_t)count : 0;
    size_t done = 0;
    while (host_length - done >= LENGTH_BYTES) {
        size_t length = (size_t)(host_buffer[done] << 8 | host_buffer[done + 1]);
        if (host_length - done < LENGTH_BYTES + length)
            break;
        take_host_answer(host_buffer + done + LENGTH_BYTES, length);
        done += LENGTH_BYTES + length;
    }
    memmove(host_buffer, host_buffer + done, host_length - done);
    host_length -= done;
}

// A free one, or the one that has waited longest for a name server: the host always answers.
static struct question *take_question(void)
{
    struct question *oldest = NULL;
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *question = &questions[i];
        if (!question->is_used)
            return question;
        if (question->server.fd >= 0 &&
            (oldest == NULL || question->deadline_ms < oldest->deadline_ms))
            oldest = question;
    }
    if (oldest != NULL)
        question_free(oldest);
    return oldest;
}

static void ask_host(struct question *question)
{
    uint8_t framed[LENGTH_BYTES + DNS_QUERY_BYTES_MAX];
    framed[0] = (uint8_t)(question->length >> 8);
    framed[1] = (uint8_t)question->length;
    memcpy(framed + LENGTH_BYTES, question->message, question->length);
    dns_set_id(framed + LENGTH_BYTES, (uint16_t)(question - questions));
    // There is room for all questions, as the host reads.
    if (write_all(host.fd, framed, LENGTH_BYTES + question->length) < 0)
        question_free(question);
}

static void clients_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    for (int i = 0; i < READS_MAX; i++) {
        struct sockaddr_in client;
        socklen_t size = sizeof client;
        // One byte more tells what is too long.
        ssize_t count = recvfrom(watch->fd, answer_buffer, DNS_QUERY_BYTES_MAX + 1, MSG_DONTWAIT,
                                 (struct sockaddr *)&client, &size);
        if (count < 0)
            return;
        if (!dns_is_query(answer_buffer, (size_t)count))
            continue;
        struct question *question = take_question();
        if (question == NULL) {
            // This one is lost. Others wait until the host has answered.
            loop_change(watch, 0);
            return;
        }
        question->is_used = true;
        question->client = client;
        question->client_id = dns_id(answer_buffer);
        question->next_server = 0;
        question->length = (size_t)count;
        memcpy(question->message, answer_buffer, question->length);
        ask_host(question);
    }
}

_Noreturn void names_serve(int datagram_fd, int stream_fd, int host_fd,
                           const struct name_servers *servers)
{
    name_servers = servers;
    clients = (struct watch){.fd = datagram_fd, .ready = clients_ready};
    host = (struct watch){.fd = host_fd, .ready = host_ready};
    clock_watch = (struct watch){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                                 .ready = clock_ready};
    for (size_t i = 0; i < QUESTIONS_MAX; i++)
        questions[i].server.fd = -1;
    if (loop_open() < 0 || loop_add(&clients, EPOLLIN) < 0 || loop_add(&host, EPOLLIN) < 0 ||
        loop_add(&clock_watch, EPOLLIN) < 0 || name_streams_open(stream_fd, servers) < 0)
        _exit(1);
    for (;;)
        loop_turn();
}
