/*
 * What a hostile driver writes to a PCI function (PCI 3.0, 6.2.5 and 6.8.2): places for its BAR and
 * entries of its MSI-X table. None may do harm, and the function works once it is put back.
 */
#ifndef TSVM_TEST_HOSTILE_PCI_H
#define TSVM_TEST_HOSTILE_PCI_H

#include <stdint.h>

struct hostile_place {
    const char *name;
    uint32_t gpa;
};

static const struct hostile_place hostile_places[] = {
    {"nowhere", 0},
    {"over RAM", 0x200000},
    {"across the end of the hole", 0xbfffc000},
    {"where virtio-mmio's devices would be", 0xd0000000},
    {"where kvm-pvm has tsvm's own code", 0xd8000000},
    {"over the configuration spaces", 0xe0000000},
    {"across the beginning of the window", 0xe0ffc000},
    {"across the end of the window", 0xe1ffc000},
    {"behind the window", 0xe2000000},
    {"over the IO-APIC", 0xfec00000},
    {"over the local APICs", 0xfee00000},
    {"at the end of 4 GiB", 0xffff8000},
    {"with all bits set", 0xffffffff},
};
#define HOSTILE_PLACE_COUNT (sizeof hostile_places / sizeof *hostile_places)

struct hostile_msix_entry {
    const char *name;
    uint32_t address_low, address_high, data, control;
};

static const struct hostile_msix_entry hostile_msix_entries[] = {
    {"all zeroes", 0, 0, 0, 0},
    {"all ones", ~0u, ~0u, ~0u, ~0u},
    {"all ones, not masked", ~0u, ~0u, ~0u, ~1u},
    {"an address in RAM", 0x200000, 0, 0x41, 0},
    {"an address above 4 GiB", 0xfee00000, 1, 0x41, 0},
    {"an address that is not aligned", 0xfee00001, 0, 0x41, 0},
    {"an APIC that does not exist", 0xfeeff000, 0, 0x41, 0},
    {"a vector of an exception", 0xfee00000, 0, 0x0d, 0},
    {"an SMI", 0xfee00000, 0, 0x0200, 0},
    {"an NMI to nobody", 0xfeefe000, 0, 0x0400, 0},
    {"an INIT to nobody", 0xfeefe000, 0, 0x0500, 0},
    {"a reserved mode, level-triggered", 0xfee00000, 0, 0xc341, 0},
    {"reserved bits of the control word", 0xfee00000, 0, 0x41, 0xfffffffe},
};
#define HOSTILE_MSIX_ENTRY_COUNT (sizeof hostile_msix_entries / sizeof *hostile_msix_entries)

#endif
