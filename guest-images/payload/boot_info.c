#include "boot_info.h"

#include <asm/bootparam.h>

#include "layout.h"
#include "string.h"

#define HVM_START_MAGIC 0x336ec578
#define MEMORY_TYPE_RAM 1

/* xen/include/public/arch-x86/hvm/start_info.h */
struct hvm_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp;
    /* From version 1. */
    uint64_t memory_map;
    uint32_t memory_map_count, reserved;
};

struct hvm_memory_map_entry {
    uint64_t address, size;
    uint32_t type, reserved;
};

struct boot_info boot_info;

static void cmdline_copy(uint64_t address)
{
    if (address == 0)
        return;
    const char *text = (const char *)address;
    for (unsigned i = 0; i < CMDLINE_SIZE_MAX - 1 && text[i] != '\0'; i++)
        boot_info.cmdline[i] = text[i];
}

static void memory_add(uint64_t base, uint64_t size, uint32_t type)
{
    if (type == MEMORY_TYPE_RAM && boot_info.ram_count < RAM_RANGES_MAX)
        boot_info.ram[boot_info.ram_count++] = (struct ram_range){base, size};
}

static void hvm_start_info_read(const struct hvm_start_info *info)
{
    if (info->magic != HVM_START_MAGIC)
        return;
    cmdline_copy(info->cmdline);
    boot_info.rsdp = info->rsdp;
    if (info->version == 0)
        return;
    const struct hvm_memory_map_entry *map = (const void *)info->memory_map;
    for (unsigned i = 0; i < info->memory_map_count; i++)
        memory_add(map[i].address, map[i].size, map[i].type);
}

static void boot_params_read(const struct boot_params *params)
{
    cmdline_copy((uint64_t)params->ext_cmd_line_ptr << 32 | params->hdr.cmd_line_ptr);
    boot_info.rsdp = params->acpi_rsdp_addr;
    for (unsigned i = 0; i < params->e820_entries && i < E820_MAX_ENTRIES_ZEROPAGE; i++)
        memory_add(params->e820_table[i].addr, params->e820_table[i].size,
                   params->e820_table[i].type);
}

void boot_info_read(uint64_t address, uint32_t protocol)
{
    if (protocol == BOOT_PROTOCOL_PVH)
        hvm_start_info_read((const struct hvm_start_info *)address);
    else
        boot_params_read((const struct boot_params *)address);
}

uint64_t ram_end(void)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        uint64_t last = boot_info.ram[i].base + boot_info.ram[i].size;
        if (last <= FOUR_GIB && last > end)
            end = last;
    }
    return end;
}
