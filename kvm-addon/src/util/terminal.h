/* A terminal's modes (termios(3)). */
#ifndef TSVM_TERMINAL_H
#define TSVM_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

/*
 * Puts a terminal in raw mode: every byte passes in both directions as it is. `saved` becomes what
 * it was. From the background this stops the process (SIGTTOU) until it is in the foreground.
 * Returns 0 or -errno.
 */
int terminal_make_raw(int fd, struct termios *saved);

/* False when the terminal is another process group's: this one is in the background. */
bool terminal_is_ours(int fd);

/*
 * Puts a terminal back to `saved`, unless it is not ours now: a job in the background neither stops
 * for this, nor changes what the foreground has set. Returns 0 or -errno.
 */
int terminal_restore(int fd, const struct termios *saved);

#endif
