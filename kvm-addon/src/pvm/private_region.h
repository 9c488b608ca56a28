/*
 * Guest memory of ours, in a hole that the machine's layout keeps free: the code, descriptor tables
 * and stacks that runs in KVM begin and end in, and the page tables that map them.
 *
 * Native runs use root tables of ours too (tables.h), one page each from the pool here. Their upper
 * half has one entry, private_region_root_entry(), which maps the region at the very end of the
 * address space.
 *
 * The guest's kernel could map these frames and change them, and with them what its own programs
 * run on: nothing here is trusted by the VMM, it only ever becomes the guest's registers.
 */
#ifndef TSVM_PVM_PRIVATE_REGION_H
#define TSVM_PVM_PRIVATE_REGION_H

#include <stdint.h>

#include "cpu.h"

/* Bytes of guest-physical address space from private_region.gpa, a multiple of it. */
#define PRIVATE_REGION_SPAN 0x200000u

/* Root tables in the pool. */
#define PRIVATE_ROOTS 128

struct private_region {
    uint64_t gpa;
    uint8_t *memory; /* PRIVATE_REGION_SPAN bytes, touched as they are used */
};

/* The host's and the guest-physical address of root table `index` of the pool; 512 entries. */
uint64_t *private_region_root(const struct private_region *region, unsigned index);
uint64_t private_region_root_gpa(const struct private_region *region, unsigned index);
/* What entry 511 of each root table is; entries 256 to 510 are 0. */
uint64_t private_region_root_entry(const struct private_region *region);

#endif
