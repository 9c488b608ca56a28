#include "container.h"

struct container container = {.init_fd = -1, .pid_namespace_fd = -1, .cgroup_fd = -1};
