#include "heap.h"

#include <stdint.h>

#include "boot_info.h"
#include "power.h"
#include "serial.h"

extern char image_end[];

static uintptr_t next = (uintptr_t)image_end;

/* The end of the RAM range that contains the image, within the identity map. */
static uintptr_t heap_end(void)
{
    for (unsigned i = 0; i < boot_info.ram_count; i++) {
        const struct ram_range *range = &boot_info.ram[i];
        if (range->base <= next && next - range->base < range->size)
            return range->base + range->size < 1ull << 32 ? range->base + range->size : 1ull << 32;
    }
    return 0;
}

void *heap_take(size_t size, size_t alignment)
{
    uintptr_t start = (next + alignment - 1) & ~(alignment - 1);
    if (start + size > heap_end()) {
        print("fatal out of memory: %lu bytes wanted\n", size);
        power_off(POWER_OFF_FAILURE);
    }
    next = start + size;
    return (void *)start;
}

void *heap_mark(void)
{
    return (void *)next;
}

void heap_rewind(void *mark)
{
    next = (uintptr_t)mark;
}
