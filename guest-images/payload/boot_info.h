/* A copy of the loader's information, because the original may be anywhere in low memory. */
#ifndef PAYLOAD_BOOT_INFO_H
#define PAYLOAD_BOOT_INFO_H

#include <stdint.h>

#define RAM_RANGES_MAX 32
#define FOUR_GIB (1ull << 32)
#define CMDLINE_SIZE_MAX 4096

struct ram_range {
    uint64_t base, size;
};

struct boot_info {
    char cmdline[CMDLINE_SIZE_MAX];
    struct ram_range ram[RAM_RANGES_MAX];
    unsigned ram_count;
    uint64_t rsdp;
};

extern struct boot_info boot_info;

/* The protocol is one of BOOT_PROTOCOL_*; the address is of its hvm_start_info or boot_params. */
void boot_info_read(uint64_t address, uint32_t protocol);

/* End (exclusive) of the RAM below 4 GiB. */
uint64_t ram_end(void);

#endif
