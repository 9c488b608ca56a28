/* Guest memory: whatever an address and a length say, the answer is in one region or NULL. */
#include "../../src/memory/guest_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../check.h"

#define PAGE 4096ull

static void lookups_stay_in_one_region(void)
{
    struct guest_memory memory = {0};
    CHECK(guest_memory_add(&memory, 0x10000, 4 * PAGE) == 0);
    CHECK(guest_memory_add(&memory, 0x100000000, 2 * PAGE) == 0);
    uint8_t *low = memory.regions[0].hva;
    CHECK(guest_memory_at(&memory, 0x10000, 4 * PAGE) == low);
    CHECK(guest_memory_at(&memory, 0x10000 + 4 * PAGE - 1, 1) == low + 4 * PAGE - 1);
    CHECK(guest_memory_at(&memory, 0x10000 + 4 * PAGE - 1, 2) == NULL);
    CHECK(guest_memory_at(&memory, 0x10000 + 4 * PAGE, 0) == NULL);
    CHECK(guest_memory_at(&memory, 0xffff, 1) == NULL);
    CHECK(guest_memory_at(&memory, 0xffff, 2) == NULL);
    CHECK(guest_memory_at(&memory, 0x10000, UINT64_MAX) == NULL);
    CHECK(guest_memory_at(&memory, UINT64_MAX, 1) == NULL);
    CHECK(guest_memory_at(&memory, UINT64_MAX, 2) == NULL);
    CHECK(guest_memory_at(&memory, 0x100000000, 2 * PAGE) == memory.regions[1].hva);
    guest_memory_free(&memory);
}

static void bad_regions_are_refused(void)
{
    struct guest_memory memory = {0};
    CHECK(guest_memory_add(&memory, 1, PAGE) == -EINVAL);
    CHECK(guest_memory_add(&memory, 0, PAGE + 1) == -EINVAL);
    CHECK(guest_memory_add(&memory, 0, 0) == -EINVAL);
    CHECK(guest_memory_add(&memory, -PAGE, 2 * PAGE) == -EINVAL);
    CHECK(guest_memory_add(&memory, 0, 2 * PAGE) == 0);
    CHECK(guest_memory_add(&memory, PAGE, PAGE) == -EINVAL);
    for (unsigned i = 1; i < GUEST_MEMORY_REGIONS_MAX; i++)
        CHECK(guest_memory_add(&memory, i * 16 * PAGE, PAGE) == 0);
    CHECK(guest_memory_add(&memory, 1024 * PAGE, PAGE) == -ENOSPC);
    guest_memory_free(&memory);
}

static void a_mapped_file_is_copied_on_write(void)
{
    struct guest_memory memory = {0};
    int fd = memfd_create("file", MFD_CLOEXEC);
    uint8_t page[PAGE];
    memset(page, 'f', sizeof page);
    CHECK(write(fd, page, sizeof page) == (ssize_t)sizeof page);
    CHECK(guest_memory_add(&memory, 0, 4 * PAGE) == 0);
    CHECK(guest_memory_map_file(&memory, PAGE, PAGE, fd, 0) == 0);
    uint8_t *mapped = guest_memory_at(&memory, PAGE, PAGE);
    CHECK(mapped[0] == 'f' && mapped[PAGE - 1] == 'f');
    mapped[0] = 'g';
    CHECK(pread(fd, page, 1, 0) == 1 && page[0] == 'f');
    CHECK(memory.regions[0].hva[0] == 0 && memory.regions[0].hva[2 * PAGE] == 0);

    CHECK(guest_memory_map_file(&memory, PAGE, 100, fd, 0) == -EINVAL);
    CHECK(guest_memory_map_file(&memory, PAGE, PAGE, fd, 100) == -EINVAL);
    CHECK(guest_memory_map_file(&memory, 4 * PAGE, PAGE, fd, 0) == -EFAULT);
    CHECK(guest_memory_map_file(&memory, 3 * PAGE, 2 * PAGE, fd, 0) == -EFAULT);
    CHECK(guest_memory_map_file(&memory, PAGE, PAGE, -1, 0) == -EBADF);
    guest_memory_free(&memory);
    close(fd);
}

int main(void)
{
    lookups_stay_in_one_region();
    bad_regions_are_refused();
    a_mapped_file_is_copied_on_write();
    return check_finish();
}
