// The agent's only thread: an event loop over epoll.
#pragma once

#include <stdint.h>

// A descriptor that is watched; part of the structure that owns it.
struct watch {
    int fd; // -1: none
    uint32_t events;
    void (*ready)(struct watch *watch, uint32_t events);
};

int loop_open(void);
// Watches `watch->fd` for `events`, which may be 0. 0, or -errno.
int loop_add(struct watch *watch, uint32_t events);
// Changes what is watched for; costs nothing if nothing changes.
void loop_change(struct watch *watch, uint32_t events);
// Ends the watch and closes the descriptor. It will not be called again.
void loop_close(struct watch *watch);
// Waits for events and calls the watches that have some.
void loop_turn(void);
