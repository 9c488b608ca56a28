/*
 * Memory for generated code: written through one mapping and executed through another, so that no
 * page is writable and executable.
 */
#ifndef TSVM_PVM_EXECUTABLE_H
#define TSVM_PVM_EXECUTABLE_H

#include <stdint.h>

struct executable {
    uint8_t *writable;
    uint8_t *executable; /* the same bytes */
    uint64_t bytes;
    uint8_t *data; /* memory of its own after those at `executable`, for the code to reach */
    uint64_t data_bytes;
};

/* Whole pages. `name` is for /proc. Returns 0, or -ENOMEM with nothing mapped. */
int executable_map(struct executable *memory, const char *name, uint64_t bytes,
                   uint64_t data_bytes);
/* Also of one that is zeroed. */
void executable_unmap(struct executable *memory);
/* Gives the memory of all code and data back; it is zero again. */
void executable_discard(struct executable *memory);
/* Bytes that are resident, with the data. From any thread. */
uint64_t executable_resident(const struct executable *memory);

/* To be called by the thread that wrote code, before it executes it. */
void executable_serialize(void);

#endif
