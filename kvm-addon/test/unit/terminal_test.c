#include "../../src/util/terminal.h"

#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../check.h"

static void test_raw_and_back(void)
{
    int master, slave;
    CHECK(openpty(&master, &slave, NULL, NULL, NULL) == 0);
    struct termios before = {0}, saved = {0}, now = {0};
    CHECK(tcgetattr(slave, &before) == 0);
    CHECK(terminal_make_raw(slave, &saved) == 0);
    CHECK(memcmp(&before, &saved, sizeof before) == 0);

    /* A line feed stays one, and no input is echoed or means a signal. */
    CHECK(write(slave, "a\nb", 3) == 3);
    char text[8] = "";
    CHECK(read(master, text, sizeof text) == 3);
    CHECK(memcmp(text, "a\nb", 3) == 0);
    CHECK(write(master, "\x03\r", 2) == 2);
    CHECK(read(slave, text, sizeof text) == 2);
    CHECK(memcmp(text, "\x03\r", 2) == 0);

    CHECK(terminal_restore(slave, &saved) == 0);
    CHECK(tcgetattr(slave, &now) == 0);
    CHECK(memcmp(&before, &now, sizeof before) == 0);
    close(slave);
    close(master);
}

static void test_no_terminal(void)
{
    int ends[2];
    struct termios saved = {0};
    CHECK(pipe(ends) == 0);
    CHECK(terminal_make_raw(ends[0], &saved) < 0);
    CHECK(terminal_restore(ends[0], &saved) < 0);
    close(ends[0]);
    close(ends[1]);
}

/* A job in the background, on a terminal that another process group has. */
static int background_job(void)
{
    struct termios saved = {0};
    setpgid(0, 0);
    if (terminal_is_ours(0))
        return 1;
    if (tcgetattr(0, &saved) < 0)
        return 2;
    saved.c_lflag ^= ECHO;
    return terminal_restore(0, &saved) == 0 ? 0 : 3;
}

static void test_background(void)
{
    int master;
    pid_t shell = forkpty(&master, NULL, NULL, NULL);
    if (shell == 0) {
        struct termios before = {0}, after = {0};
        if (!terminal_is_ours(0) || tcgetattr(0, &before) < 0)
            _exit(10);
        pid_t job = fork();
        if (job == 0)
            _exit(background_job());
        int status;
        if (waitpid(job, &status, WUNTRACED) != job || WIFSTOPPED(status))
            _exit(11);
        tcgetattr(0, &after);
        _exit(memcmp(&before, &after, sizeof before) ? 12 : WEXITSTATUS(status));
    }
    int status;
    CHECK(waitpid(shell, &status, 0) == shell);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    close(master);
}

int main(void)
{
    test_raw_and_back();
    test_no_terminal();
    test_background();
    return check_finish();
}
