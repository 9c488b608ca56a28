/*
 * Anonymous memory in huge pages, where the host has them to give (transparent huge pages that are
 * not "never"). Devices then copy without a page fault, and a miss of the TLB, every 4 KiB. The
 * price: memory of which the guest uses a few pages takes 2 MiB, and a part of a huge page that is
 * released is the host's again only when the host is short of memory, or all of it is released.
 */
#ifndef TSVM_HUGE_MAPPING_H
#define TSVM_HUGE_MAPPING_H

#include <stdint.h>

/* A huge page of x86-64, in bytes. */
#define HUGE_MAPPING_PAGE_SIZE (2ull << 20)

/*
 * Maps `size` bytes that are to be guest memory at `gpa`; both are page-aligned. A huge page of the
 * guest is one of the host: KVM can map it whole, and the guest release it whole. munmap() frees
 * it. Returns 0 or -errno.
 */
int huge_mapping_create(uint64_t gpa, uint64_t size, void **hva);

#endif
