/* Reserved, zeroed address space of the engine, allocated on demand. */
#ifndef TSVM_PVM_RESERVE_H
#define TSVM_PVM_RESERVE_H

#include <stdint.h>

/* NULL: there is none. */
void *reserve(uint64_t bytes);
/* The same for memory all of which is used soon: in large pages, where the host allows them. */
void *reserve_large(uint64_t bytes);
/* Gives it back: it is zero again, and in small pages. */
void reserve_discard(void *memory, uint64_t bytes);
/* What is used of it from now on is in large pages, where the host allows them. */
void reserve_in_large_pages(void *memory, uint64_t bytes);
/* Of `memory` NULL nothing. */
void release(void *memory, uint64_t bytes);
/* How much of it is resident. From any thread. */
uint64_t reserve_resident(const void *memory, uint64_t bytes);

#endif
