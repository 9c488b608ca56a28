// The machine's processors besides the first. The kernel boots with that one alone (maxcpus=1),
// because it waits for each further one, and on an emulated host all of them would spin at every
// wait of the boot.
#pragma once

#include <stdint.h>

// Brings them up in a process of its own. 0, or -errno.
int processors_start(void);

// Waits until they run: the container's first process sees all of them.
void processors_wait(void);

// How many there are.
uint64_t processors_count(void);

// Keeps this process, and its children, where the socket device interrupts. On another processor,
// each packet would wake a thread across processors, which costs the guest of an emulated host more
// than the packet; and each processor of such a host decodes the kernel's code anew.
void stay_with_device(void);
// Undoes it, for a program of the container.
void leave_device(void);
