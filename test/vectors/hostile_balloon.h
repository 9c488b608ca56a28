/*
 * Page numbers that a memory balloon refuses (virtio 1.2, 5.5.6), on a machine with less than 3 GiB
 * below the devices. This is the only list of them. It is used by the tests with a fake driver
 * (test/support/hostile-requests.ts) and by the bare-metal payload under KVM.
 *
 * A refused page is counted. Valid pages of the same request are still taken.
 */
#ifndef TSVM_TEST_HOSTILE_BALLOON_H
#define TSVM_TEST_HOSTILE_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#define HOSTILE_PAGE_BYTES 4096u

struct hostile_page {
    const char *name;
    bool after_ram; /* relative to the first page after RAM */
    uint32_t page;
};

static const struct hostile_page hostile_pages[] = {
    {"the first page after RAM", true, 0},
    {"a page in the hole below 4 GiB", false, 0xd0001},
    {"the I/O APIC", false, 0xfec00},
    {"the local APIC", false, 0xfee00},
    {"the last page below 4 GiB", false, 0xfffff},
    {"a page at 8 TiB", false, 0x80000000},
    {"the last page that there can be", false, 0xffffffff},
};

#define HOSTILE_PAGE_COUNT (sizeof hostile_pages / sizeof hostile_pages[0])

static inline uint32_t hostile_page_number(const struct hostile_page *page, uint64_t ram_end)
{
    return (page->after_ram ? (uint32_t)(ram_end / HOSTILE_PAGE_BYTES) : 0) + page->page;
}

#endif
