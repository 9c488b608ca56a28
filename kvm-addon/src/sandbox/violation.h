/* What happens when a thread makes a system call that its filter forbids. */
#ifndef TSVM_VIOLATION_H
#define TSVM_VIOLATION_H

/* The exit code of tsvm's own failures. */
#define VIOLATION_EXIT_CODE 125

/*
 * Installs the handler of SIGSYS. A forbidden call ends the process with VIOLATION_EXIT_CODE, after
 * one sentence on standard error that names the call and the thread, and with the terminal as it
 * was. Returns 0 or -errno.
 */
int violation_handle(void);

/*
 * Prepares the calling thread: what it is, for the message, and its signal mask, without which the
 * kernel would end the process without any message. `kind` lives as long as the thread.
 */
void violation_name_thread(const char *kind);

#endif
