/* Archives between a pipe and a connection to an agent, honest or not. */
#include "../../src/util/archive_pump.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../check.h"

#define REPLY 2
#define FAILURE 3
#define STDOUT 49
#define DATA 52
#define DATA_BYTES_MAX (256u << 10)

/* The other end of the connection, and of the pipe. */
struct fixture {
    int connection, agent;
    int pipe[2];
};

static struct fixture setup(void)
{
    struct fixture fixture;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    fixture.connection = ends[0];
    fixture.agent = ends[1];
    fcntl(fixture.agent, F_SETFL, 0);
    CHECK(pipe2(fixture.pipe, O_CLOEXEC) == 0);
    return fixture;
}

static void teardown(struct fixture *fixture)
{
    int fds[] = {fixture->connection, fixture->agent, fixture->pipe[0], fixture->pipe[1]};
    for (unsigned i = 0; i < 4; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

static void put(int fd, const void *bytes, size_t length)
{
    for (const uint8_t *rest = bytes; length > 0;) {
        ssize_t count = write(fd, rest, length);
        if (count <= 0)
            return;
        rest += count;
        length -= (size_t)count;
    }
}

static bool get(int fd, void *bytes, size_t length)
{
    for (uint8_t *rest = bytes; length > 0;) {
        ssize_t count = read(fd, rest, length);
        if (count <= 0)
            return false;
        rest += count;
        length -= (size_t)count;
    }
    return true;
}

static void put_header(int fd, uint8_t type, uint32_t length)
{
    uint8_t header[5];
    memcpy(header, &length, 4);
    header[4] = type;
    put(fd, header, sizeof header);
}

static void put_frame(int fd, uint8_t type, const void *bytes, uint32_t length)
{
    put_header(fd, type, length);
    put(fd, bytes, length);
}

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 7 + (position >> 8));
}

#define FRAMES 40u

static uint32_t frame_bytes(unsigned i)
{
    return i % 3 == 0 ? DATA_BYTES_MAX : i * 1000 + 1;
}

/* Sends frames of all lengths, in pieces that split headers. */
static void *send_archive(void *argument)
{
    const struct fixture *fixture = argument;
    static uint8_t bytes[DATA_BYTES_MAX];
    size_t position = 0;
    for (unsigned i = 0; i < FRAMES; i++) {
        uint32_t length = frame_bytes(i);
        for (uint32_t at = 0; at < length; at++)
            bytes[at] = byte_at(position++);
        uint8_t header[5] = {0, 0, 0, 0, DATA};
        memcpy(header, &length, 4);
        put(fixture->agent, header, 2);
        usleep(100);
        put(fixture->agent, header + 2, 3);
        put(fixture->agent, bytes, length);
    }
    put_header(fixture->agent, DATA, 0);
    put_frame(fixture->agent, REPLY, "done", 4);
    return NULL;
}

static void *read_pipe(void *argument)
{
    const struct fixture *fixture = argument;
    size_t position = 0;
    uint8_t bytes[10000];
    ssize_t count;
    while ((count = read(fixture->pipe[0], bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            CHECK(bytes[i] == byte_at(position++));
    }
    return (void *)position;
}

static void an_archive_comes_out_whole(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    pthread_t sender, reader;
    void *received;
    pthread_create(&sender, NULL, send_archive, &fixture);
    pthread_create(&reader, NULL, read_pipe, &fixture);
    CHECK(archive_pump_out(fixture.connection, fixture.pipe[1], &answer) == 0);
    close(fixture.pipe[1]);
    fixture.pipe[1] = -1;
    pthread_join(sender, NULL);
    pthread_join(reader, &received);
    CHECK(answer.type == REPLY && answer.whole && answer.length == 4);
    CHECK(memcmp(answer.payload, "done", 4) == 0);
    CHECK(answer.moved == (size_t)received && answer.moved > 14 * DATA_BYTES_MAX);
    free(answer.payload);
    teardown(&fixture);
}

/* What the agent sends, as an answer to archive_pump_out(). */
static int outcome(void (*send)(int agent), struct archive_answer *answer)
{
    struct fixture fixture = setup();
    send(fixture.agent);
    shutdown(fixture.agent, SHUT_WR);
    int result = archive_pump_out(fixture.connection, fixture.pipe[1], answer);
    if (result == 0)
        free(answer->payload);
    teardown(&fixture);
    return result;
}

static void send_nothing(int agent)
{
    (void)agent;
}

static void send_failure(int agent)
{
    put_frame(agent, DATA, "abc", 3);
    put_frame(agent, FAILURE, "no", 2);
}

static void send_early_reply(int agent)
{
    put_frame(agent, DATA, "abc", 3);
    put_frame(agent, REPLY, "", 0);
}

static void send_half_a_frame(int agent)
{
    put_header(agent, DATA, 100);
    put(agent, "abc", 3);
}

static void send_half_an_answer(int agent)
{
    put_header(agent, DATA, 0);
    put_header(agent, REPLY, 100);
    put(agent, "abc", 3);
}

static void send_long_data(int agent)
{
    put_header(agent, DATA, DATA_BYTES_MAX + 1);
}

static void send_endless_answer(int agent)
{
    put_header(agent, FAILURE, ARCHIVE_ANSWER_BYTES_MAX + 1);
}

static void send_data_behind_the_end(int agent)
{
    put_header(agent, DATA, 0);
    put_frame(agent, DATA, "abc", 3);
}

static void send_other_frame(int agent)
{
    put_frame(agent, STDOUT, "abc", 3);
}

static void a_hostile_agent_is_refused(void)
{
    struct archive_answer answer;
    CHECK(outcome(send_nothing, &answer) == -ECONNRESET);
    CHECK(outcome(send_half_a_frame, &answer) == -ECONNRESET);
    CHECK(outcome(send_half_an_answer, &answer) == -ECONNRESET);
    CHECK(outcome(send_long_data, &answer) == -EBADMSG);
    CHECK(outcome(send_endless_answer, &answer) == -EBADMSG);
    CHECK(outcome(send_data_behind_the_end, &answer) == -EBADMSG);
    CHECK(outcome(send_other_frame, &answer) == -EBADMSG);
    CHECK(outcome(send_failure, &answer) == 0 && answer.type == FAILURE && !answer.whole);
    CHECK(outcome(send_early_reply, &answer) == 0 && answer.type == REPLY && !answer.whole);
}

static void a_pipe_without_a_reader_ends_it(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    put_frame(fixture.agent, DATA, "abc", 3);
    close(fixture.pipe[0]);
    fixture.pipe[0] = -1;
    CHECK(archive_pump_out(fixture.connection, fixture.pipe[1], &answer) == -EPIPE);
    teardown(&fixture);
}

#define IN_BYTES (5u << 20)

static void *fill_pipe(void *argument)
{
    struct fixture *fixture = argument;
    for (size_t position = 0; position < IN_BYTES;) {
        uint8_t bytes[7000];
        size_t length = 0;
        while (length < sizeof bytes && position < IN_BYTES)
            bytes[length++] = byte_at(position++);
        put(fixture->pipe[1], bytes, length);
    }
    close(fixture->pipe[1]);
    fixture->pipe[1] = -1;
    return NULL;
}

static void *take_archive(void *argument)
{
    const struct fixture *fixture = argument;
    size_t position = 0;
    for (;;) {
        static uint8_t bytes[DATA_BYTES_MAX];
        uint8_t header[5];
        uint32_t length;
        CHECK(get(fixture->agent, header, sizeof header));
        memcpy(&length, header, 4);
        CHECK(header[4] == DATA && length <= DATA_BYTES_MAX && get(fixture->agent, bytes, length));
        for (uint32_t i = 0; i < length; i++)
            CHECK(bytes[i] == byte_at(position++));
        if (length == 0)
            break;
    }
    put_frame(fixture->agent, REPLY, "", 0);
    return (void *)position;
}

static void an_archive_goes_in_whole(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    pthread_t writer, agent;
    void *taken;
    pthread_create(&writer, NULL, fill_pipe, &fixture);
    pthread_create(&agent, NULL, take_archive, &fixture);
    CHECK(archive_pump_in(fixture.pipe[0], fixture.connection, &answer) == 0);
    pthread_join(writer, NULL);
    pthread_join(agent, &taken);
    CHECK(answer.type == REPLY && answer.whole && answer.moved == IN_BYTES);
    CHECK((size_t)taken == IN_BYTES);
    free(answer.payload);
    teardown(&fixture);
}

static void an_early_refusal_ends_it(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    /* The pipe stays open and silent. */
    put_frame(fixture.agent, FAILURE, "full", 4);
    CHECK(archive_pump_in(fixture.pipe[0], fixture.connection, &answer) == 0);
    CHECK(answer.type == FAILURE && !answer.whole && memcmp(answer.payload, "full", 4) == 0);
    free(answer.payload);
    teardown(&fixture);
}

static void a_refusal_is_seen_while_nothing_is_taken(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    pthread_t writer;
    pthread_create(&writer, NULL, fill_pipe, &fixture);
    usleep(50000);
    put_frame(fixture.agent, FAILURE, "full", 4);
    CHECK(archive_pump_in(fixture.pipe[0], fixture.connection, &answer) == 0);
    CHECK(answer.type == FAILURE && answer.moved < IN_BYTES);
    free(answer.payload);
    close(fixture.pipe[0]);
    fixture.pipe[0] = -1;
    pthread_join(writer, NULL);
    teardown(&fixture);
}

static void an_agent_that_goes_ends_it(void)
{
    struct fixture fixture = setup();
    struct archive_answer answer;
    close(fixture.agent);
    fixture.agent = -1;
    CHECK(archive_pump_in(fixture.pipe[0], fixture.connection, &answer) == -ECONNRESET);
    teardown(&fixture);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    an_archive_comes_out_whole();
    a_hostile_agent_is_refused();
    a_pipe_without_a_reader_ends_it();
    an_archive_goes_in_whole();
    an_early_refusal_ends_it();
    a_refusal_is_seen_while_nothing_is_taken();
    an_agent_that_goes_ends_it();
    return check_finish();
}
