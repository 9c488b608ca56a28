#ifndef PAYLOAD_PAGING_H
#define PAYLOAD_PAGING_H

#include <stdint.h>

/* Adds the range to the identity map. The low 4 GiB are always there. */
void paging_map(uint64_t base, uint64_t size);

#endif
