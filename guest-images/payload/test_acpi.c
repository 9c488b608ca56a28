/* The loader's ACPI tables: complete and correctly linked (ACPI 6.5, 5.2).
 */
#include "boot_info.h"
#include "string.h"
#include "test.h"

#define TABLES_MAX 16
/* The first version of the RSDP ends here and has its own checksum. */
#define RSDP_V1_LENGTH 20

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct acpi_table {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision, creator_id, creator_revision;
} __attribute__((packed));

static bool sums_to_zero(const void *bytes, size_t length)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)bytes)[i]);
    return sum == 0;
}

static bool table_valid(const struct acpi_table *table)
{
    return table->length >= sizeof(*table) && sums_to_zero(table, table->length);
}

static enum verdict acpi(void)
{
    if (boot_info.rsdp == 0)
        return test_skipped("the loader gave no RSDP");
    const struct rsdp *rsdp = (const struct rsdp *)boot_info.rsdp;
    REQUIRE(memcmp(rsdp->signature, "RSD PTR ", 8) == 0, "no RSDP at %p", (const void *)rsdp);
    REQUIRE(sums_to_zero(rsdp, RSDP_V1_LENGTH), "the RSDP's checksum is wrong");
    REQUIRE(rsdp->revision >= 2 && sums_to_zero(rsdp, rsdp->length),
            "the RSDP's extended checksum is wrong");
    const struct acpi_table *xsdt = (const struct acpi_table *)rsdp->xsdt;
    REQUIRE(memcmp(xsdt->signature, "XSDT", 4) == 0 && table_valid(xsdt), "the XSDT is wrong");
    unsigned count = (unsigned)((xsdt->length - sizeof(*xsdt)) / sizeof(uint64_t));
    char names[TABLES_MAX * 5 + 1] = "";
    for (unsigned i = 0; i < count && i < TABLES_MAX; i++) {
        uint64_t address;
        memcpy(&address, (const char *)(xsdt + 1) + i * sizeof(address), sizeof(address));
        const struct acpi_table *table = (const struct acpi_table *)address;
        REQUIRE(table_valid(table), "table %u is wrong", i);
        names[i * 5] = ',';
        memcpy(names + i * 5 + 1, table->signature, 4);
    }
    return test_passed("tables=%s", names + 1);
}

static const struct test tests[] = {
    {"acpi", acpi},
};

const struct test_suite test_suite_acpi = TEST_SUITE(tests);
