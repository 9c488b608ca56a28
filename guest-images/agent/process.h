// Processes that the host has started, with their streams.
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "frame_reader.h"

// Starts what a FRAME_START asks for, on its connection; answers there, and owns the connection.
void process_start(int connection_fd, const struct frame_reader *request);
// A child has been reaped.
void process_ended(pid_t pid, int status);

// Those that have ended take every signal and every size. 0, or -errno.
int process_send_signal(uint64_t pid, int number);
void process_set_window(uint64_t pid, const struct winsize *window);
