/* The registers of PCI functions with a driver that writes what no driver would. */
#include <linux/virtio_pci.h>
#include <stdbool.h>

#include "../../test/vectors/hostile_pci.h"
#include "pci.h"
#include "test.h"

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA 0xcfcu
#define CONFIG_BYTES 256
#define MEMORY_AND_MASTER (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static uint32_t in(uint16_t port, unsigned width)
{
    uint32_t value = 0;
    if (width == 1)
        __asm__ volatile("inb %1, %b0" : "+a"(value) : "d"(port));
    else if (width == 2)
        __asm__ volatile("inw %1, %w0" : "+a"(value) : "d"(port));
    else
        __asm__ volatile("inl %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "d"(port));
}

static uint32_t by_port(unsigned device, unsigned at, unsigned width)
{
    out32(CONFIG_ADDRESS, 0x80000000u | device << 11 | (at & ~3u));
    return in((uint16_t)(CONFIG_DATA + (at & 3)), width);
}

static void place(unsigned device, uint32_t gpa)
{
    mmio_write(pci_config(device, PCI_COMMAND), 2, 0);
    mmio_write32(pci_config(device, PCI_BASE_ADDRESS_0), gpa);
    mmio_write(pci_config(device, PCI_COMMAND), 2, MEMORY_AND_MASTER);
}

/* Whether the function is reset, and has queues, at its BAR. */
static bool works(unsigned device, uint32_t bar)
{
    unsigned common = pci_capability(device, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG);
    uintptr_t at = bar + mmio_read(pci_config(device, common + 8), 4);
    *(volatile uint8_t *)(at + VIRTIO_PCI_COMMON_STATUS) = 0;
    return common != 0 && mmio_read(at + VIRTIO_PCI_COMMON_STATUS, 1) == 0 &&
           mmio_read(at + VIRTIO_PCI_COMMON_NUMQ, 2) - 1u < 64;
}

/* The host bridge, one of virtio, and one place without any: each takes long on emulated hosts. */
static enum verdict config(void)
{
    const unsigned devices[] = {0, pci_virtio_function(0), 1};
    if (devices[1] == PCI_DEVICES)
        return test_skipped("no PCI function");
    for (unsigned i = 0; i < 3; i++) {
        unsigned device = devices[i];
        for (unsigned at = 0; at < CONFIG_BYTES; at += 4) {
            uint32_t word = mmio_read(pci_config(device, at), 4);
            REQUIRE(by_port(device, at, 4) == word, "device %u, 0x%x: %x", device, at, word);
            for (unsigned byte = 0; byte < 4; byte++) {
                uint8_t expected = (uint8_t)(word >> 8 * byte);
                REQUIRE(mmio_read(pci_config(device, at + byte), 1) == expected &&
                            by_port(device, at + byte, 1) == expected,
                        "device %u, 0x%x: byte %u", device, at, byte);
            }
            REQUIRE(by_port(device, at + 2, 2) == word >> 16, "device %u, 0x%x", device, at);
            /* Across registers, and wider than any: whatever it reads. */
            (void)mmio_read(pci_config(device, at + 1), 2);
            (void)mmio_read(pci_config(device, at + 3), 4);
            (void)*(volatile uint64_t *)pci_config(device, at);
            mmio_write32(pci_config(device, at + 1), ~0u);
            REQUIRE(mmio_read(pci_config(device, at), 4) == word, "device %u, 0x%x: written",
                    device, at);
        }
    }
    unsigned device = devices[1];
    uint32_t bar = mmio_read(pci_config(device, PCI_BASE_ADDRESS_0), 4);
    uint32_t identity = mmio_read(pci_config(device, 0), 4),
             list = mmio_read(pci_config(device, 0x34), 4);
    for (unsigned value = 0; value < 2; value++)
        for (unsigned at = CONFIG_BYTES; at-- > 0;)
            *(volatile uint8_t *)pci_config(device, at) = value == 0 ? 0xff : 0;
    REQUIRE(mmio_read(pci_config(device, 0), 4) == identity &&
                mmio_read(pci_config(device, 0x34), 4) == list,
            "what is read-only was written");
    place(device, bar);
    REQUIRE(works(device, bar), "the function does not work any more");
    return test_passed("bar=0x%x", bar);
}

static enum verdict bars(void)
{
    unsigned devices[] = {pci_virtio_function(0), pci_virtio_function(1)};
    if (devices[1] == PCI_DEVICES)
        return test_skipped("no two PCI functions");
    uint32_t own[2];
    for (unsigned i = 0; i < 2; i++) {
        own[i] = mmio_read(pci_config(devices[i], PCI_BASE_ADDRESS_0), 4);
        mmio_write32(pci_config(devices[i], PCI_BASE_ADDRESS_0), ~0u);
        uint32_t size = -mmio_read(pci_config(devices[i], PCI_BASE_ADDRESS_0), 4);
        REQUIRE(size >= 4096 && (size & (size - 1)) == 0, "a BAR of 0x%x bytes", size);
        place(devices[i], own[i]);
    }
    volatile uint32_t ram = 0x12345678;
    for (unsigned i = 0; i <= HOSTILE_PLACE_COUNT; i++) {
        bool last = i == HOSTILE_PLACE_COUNT;
        const char *name = last ? "over the other function" : hostile_places[i].name;
        uint32_t gpa = last ? own[1] : hostile_places[i].gpa;
        place(devices[0], gpa);
        uint32_t now = mmio_read(pci_config(devices[0], PCI_BASE_ADDRESS_0), 4) & ~15u;
        for (unsigned offset = 0; offset < 0x8000; offset += 0x800)
            (void)mmio_read(now + offset, 4);
        REQUIRE(ram == 0x12345678, "%s: RAM has changed", name);
        REQUIRE(last || works(devices[1], own[1]), "%s: the other function does not work", name);
    }
    place(devices[0], own[0]);
    REQUIRE(works(devices[0], own[0]) && works(devices[1], own[1]), "they do not work any more");
    return test_passed("places=%u", (unsigned)HOSTILE_PLACE_COUNT + 1);
}

static enum verdict msix(void)
{
    unsigned device = pci_virtio_function(0);
    if (device == PCI_DEVICES)
        return test_skipped("no PCI function");
    uint32_t bar = mmio_read(pci_config(device, PCI_BASE_ADDRESS_0), 4);
    unsigned at = pci_capability(device, PCI_CAP_ID_MSIX, 0);
    REQUIRE(at != 0, "no MSI-X");
    place(device, bar);
    unsigned count =
        (mmio_read(pci_config(device, at + PCI_MSIX_FLAGS), 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
    uintptr_t table =
        bar + (mmio_read(pci_config(device, at + PCI_MSIX_TABLE), 4) & PCI_MSIX_TABLE_OFFSET);
    uintptr_t pending =
        bar + (mmio_read(pci_config(device, at + PCI_MSIX_PBA), 4) & PCI_MSIX_PBA_OFFSET);
    mmio_write(pci_config(device, at + PCI_MSIX_FLAGS), 2, PCI_MSIX_FLAGS_ENABLE);
    for (unsigned i = 0; i < HOSTILE_MSIX_ENTRY_COUNT; i++) {
        const struct hostile_msix_entry *entry = &hostile_msix_entries[i];
        /* One more than there are. */
        for (unsigned n = 0; n <= count; n++) {
            mmio_write32(table + 16 * n, entry->address_low);
            mmio_write32(table + 16 * n + 4, entry->address_high);
            mmio_write32(table + 16 * n + 8, entry->data);
            mmio_write32(table + 16 * n + 12, entry->control);
            *(volatile uint8_t *)(table + 16 * n + 9) = 0xff;
        }
        REQUIRE(mmio_read(table + 8, 4) != 0 || entry->data == 0, "%s", entry->name);
        mmio_write(pci_config(device, at + PCI_MSIX_FLAGS), 2, 0xffff);
        mmio_write32(pending, ~0u);
        REQUIRE(mmio_read(pending, 4) == 0, "%s: pending bits are written", entry->name);
        mmio_write(pci_config(device, at + PCI_MSIX_FLAGS), 2, PCI_MSIX_FLAGS_ENABLE);
    }
    unsigned common = pci_capability(device, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_COMMON_CFG);
    uintptr_t registers = bar + mmio_read(pci_config(device, common + 8), 4);
    static const uint16_t vectors[] = {0x7fff, 0xfffe, 0x0800, 64};
    for (unsigned i = 0; i < 4; i++) {
        mmio_write(registers + VIRTIO_PCI_COMMON_MSIX, 2, vectors[i]);
        REQUIRE(mmio_read(registers + VIRTIO_PCI_COMMON_MSIX, 2) == VIRTIO_MSI_NO_VECTOR,
                "vector 0x%x is accepted", vectors[i]);
    }
    mmio_write(pci_config(device, at + PCI_MSIX_FLAGS), 2, 0);
    REQUIRE(works(device, bar), "the function does not work any more");
    return test_passed("entries=%u", (unsigned)HOSTILE_MSIX_ENTRY_COUNT);
}

static const struct test tests[] = {
    {"pci-config", config},
    {"pci-bars", bars},
    {"pci-msix", msix},
};

const struct test_suite test_suite_pci = TEST_SUITE(tests);
