/* The machine itself: memory, CPU identification, the serial port. */
#include "boot_info.h"
#include "cmdline.h"
#include "cpu.h"
#include "heap.h"
#include "paging.h"
#include "serial.h"
#include "string.h"
#include "test.h"

#define PAGE_SIZE 4096
/* Accesses memory in a range: at regular distances and at both ends. */
#define TOUCH_STRIDE (128ull << 20)

#define CPUID_LONG_MODE (1u << 29)
#define CPUID_KVM_SIGNATURE 0x40000000u

static bool page_in_use(uint64_t page)
{
    /* Low memory may belong to the firmware, and the image must not be overwritten. */
    return page < (uint64_t)(uintptr_t)heap_mark();
}

static bool page_touch(uint64_t page)
{
    if (page_in_use(page))
        return true;
    volatile uint64_t *word = (volatile uint64_t *)page;
    *word = page ^ 0x5a5a5a5a5a5a5a5aull;
    return *word == (page ^ 0x5a5a5a5a5a5a5a5aull);
}

static enum verdict range_touch(const struct ram_range *range)
{
    if (range->base + range->size > FOUR_GIB)
        paging_map(range->base, range->size);
    uint64_t first = (range->base + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    uint64_t last = ((range->base + range->size) & ~(uint64_t)(PAGE_SIZE - 1)) - PAGE_SIZE;
    for (uint64_t page = first; page < last; page += TOUCH_STRIDE)
        REQUIRE(page_touch(page), "lost a write at %p", (void *)page);
    REQUIRE(page_touch(last), "lost a write at %p", (void *)last);
    return VERDICT_PASSED;
}

static bool ranges_overlap(const struct ram_range *a, const struct ram_range *b)
{
    return a->base < b->base + b->size && b->base < a->base + a->size;
}

/* memory=BYTES is the expected size of the RAM, apart from holes in the first MiB. */
static enum verdict memory(void)
{
    uint64_t total = 0, top = 0;
    REQUIRE(boot_info.ram_count != 0, "the loader gave no memory map");
    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        const struct ram_range *range = &boot_info.ram[i];
        for (unsigned j = 0; j < i; j++)
            REQUIRE(!ranges_overlap(range, &boot_info.ram[j]), "ranges %u and %u overlap", i, j);
        REQUIRE_PASSED(range_touch(range));
        total += range->size;
        if (range->base + range->size > top)
            top = range->base + range->size;
    }
    uint64_t expected = cmdline_number("memory", total);
    REQUIRE(total <= expected && expected - total <= 1 << 20, "bytes=%lu", total);
    return test_passed("ranges=%u bytes=%lu top=%p", boot_info.ram_count, total, (void *)top);
}

static void text_append(char *text, uint32_t word)
{
    size_t length = strlen(text);
    memcpy(text + length, &word, sizeof(word));
    text[length + sizeof(word)] = '\0';
}

static enum verdict cpuid_test(void)
{
    char vendor[13] = "", hypervisor[13] = "";
    struct cpuid_result basic = cpuid(0, 0), features = cpuid(1, 0);
    struct cpuid_result topology = cpuid(0xb, 1), virtual = cpuid(CPUID_KVM_SIGNATURE, 0);
    text_append(vendor, basic.ebx);
    text_append(vendor, basic.edx);
    text_append(vendor, basic.ecx);
    text_append(hypervisor, virtual.ebx);
    text_append(hypervisor, virtual.ecx);
    text_append(hypervisor, virtual.edx);
    REQUIRE(cpuid(0x80000001, 0).edx & CPUID_LONG_MODE, "no long mode");
    return test_passed("vendor=%s hypervisor=%s leaves=%x signature=%x ecx=%x edx=%x apic=%u "
                       "threads=%u",
                       vendor, hypervisor, basic.eax, features.eax, features.ecx, features.edx,
                       features.ebx >> 24, topology.ebx & 0xffff);
}

/* count= numbered lines of 64 characters, so that lost ones are detected. */
static enum verdict serial_flood(void)
{
    uint64_t count = cmdline_number("count", 1000);
    char line[64];
    for (uint64_t i = 0; i < count; i++) {
        memset(line, 'a' + (int)(i % 26), sizeof(line));
        uint64_t number = i;
        for (unsigned digit = 8; digit-- != 0; number /= 10)
            line[digit] = (char)('0' + number % 10);
        line[8] = ' ';
        line[sizeof(line) - 1] = '\n';
        serial_write(line, sizeof(line));
    }
    return test_passed("lines=%lu", count);
}

/* Echoes a line of input. */
static enum verdict serial_echo(void)
{
    unsigned length = 0;
    char character;
    print("echo: ");
    do {
        character = serial_read();
        serial_write(&character, 1);
        length++;
    } while (character != '\n' && character != '\r');
    if (character == '\r')
        print("\n");
    return test_passed("characters=%u", length - 1);
}

static const struct test tests[] = {
    {"memory", memory},
    {"cpuid", cpuid_test},
    {"serial-flood", serial_flood},
    {"serial-echo", serial_echo},
};

const struct test_suite test_suite_machine = TEST_SUITE(tests);
