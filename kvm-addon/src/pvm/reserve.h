/* Reserved, zeroed address space of the engine, allocated on demand. */
#ifndef TSVM_PVM_RESERVE_H
#define TSVM_PVM_RESERVE_H

#include <stdint.h>

/* NULL: there is none. */
void *reserve(uint64_t bytes);
/* The same for memory that is soon used completely: in large pages, if the host allows them. */
void *reserve_large(uint64_t bytes);
/* Frees the memory, keeping the address space: it reads as zero, and uses small pages. */
void reserve_discard(void *memory, uint64_t bytes);
/* From now on the memory uses large pages, if the host allows them. */
void reserve_in_large_pages(void *memory, uint64_t bytes);
/* Ignores NULL. */
void release(void *memory, uint64_t bytes);
/* How much of it is resident. From any thread. */
uint64_t reserve_resident(const void *memory, uint64_t bytes);

#endif
