/* Terminal settings (termios(3)). */
#ifndef TSVM_TERMINAL_H
#define TSVM_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

/*
 * Puts a terminal in raw mode: bytes pass unchanged in both directions. Stores the previous
 * settings in `saved`. A background process is stopped (SIGTTOU) until it is in the foreground.
 * Returns 0 or -errno.
 */
int terminal_make_raw(int fd, struct termios *saved);

/* False when this process is in the background of the terminal. */
bool terminal_is_ours(int fd);

/*
 * Restores a terminal to `saved`. In the background it does nothing: it neither stops the process
 * nor changes the settings of the foreground program. Returns 0 or -errno.
 */
int terminal_restore(int fd, const struct termios *saved);

/*
 * Restores the terminal that is raw, if one is, for a process that ends at once. Async-signal-safe.
 */
void terminal_restore_at_end(void);

#endif
