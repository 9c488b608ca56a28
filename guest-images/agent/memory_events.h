// Reports when the kernel kills processes of the container for lack of memory.
#pragma once

// 0, or -errno.
int memory_events_open(void);
