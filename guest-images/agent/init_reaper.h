// --init: a PID 1 that forwards signals to its child and reaps orphans.
#pragma once

#include <stdbool.h>

// Forks: returns in the child, which becomes the program. The parent stays until the child ends,
// and ends as it did.
void init_reaper_fork(bool has_terminal);
