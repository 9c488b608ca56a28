// A port of this network namespace that leads to another one, so that servers of the container can
// have it.
#pragma once

#include <stdint.h>

// What is sent to `address` and port `from` arrives at the ports `udp` and `tcp` there, and what
// these send comes from port `from`. 0, or -errno: the kernel may have no nftables.
int port_redirect(uint32_t address, uint16_t from, uint16_t udp, uint16_t tcp);
