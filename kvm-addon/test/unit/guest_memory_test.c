/* Guest memory: whatever an address and a length say, the answer is in one region or NULL. */
#include "../../src/memory/guest_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/memory/huge_mapping.h"
#include "../../src/util/thread_signals.h"
#include "../check.h"
#include "../host_file.h"

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

static void shared_memory_is_another_mapping_of_its_memfd(void)
{
    struct guest_memory memory = {0};
    const struct guest_memory_source shared = {.backing = GUEST_MEMORY_SHARED};
    CHECK(guest_memory_add_from(&memory, 0x100000, 4 * PAGE, &shared) == 0);
    const struct guest_memory_region *region = &memory.regions[0];
    uint8_t *other =
        mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.regions[0].fd, 0);
    CHECK(other != MAP_FAILED);
    region->hva[PAGE] = 1;
    other[2 * PAGE] = 2;
    CHECK(other[PAGE] == 1 && region->hva[2 * PAGE] == 2);
    /* Nobody who is given the memfd can take the memory away. */
    CHECK(ftruncate(region->fd, 0) < 0 && ftruncate(region->fd, 8 * PAGE) < 0);
    CHECK(guest_memory_map_file(&memory, 0x100000, PAGE, region->fd, 0) == -EOPNOTSUPP);
    CHECK(guest_memory_discard(&memory, 0x100000 + PAGE, PAGE) == 0);
    CHECK(other[PAGE] == 0 && other[2 * PAGE] == 2);
    munmap(other, 4 * PAGE);
    guest_memory_free(&memory);
}

static void file_memory_is_a_private_copy(void)
{
    struct guest_memory memory = {0};
    char path[PATH_MAX];
    temporary_template(path);
    int fd = mkstemp(path);
    unlink(path);
    CHECK(ftruncate(fd, 4 * PAGE) == 0 && pwrite(fd, "snapshot", 8, 2 * PAGE) == 8);
    struct guest_memory_source file = {.backing = GUEST_MEMORY_FILE, .fd = fd, .offset = 2 * PAGE};
    CHECK(guest_memory_add_from(&memory, 0, 4 * PAGE, &file) == -ENODATA);
    file.offset = 100;
    CHECK(guest_memory_add_from(&memory, 0, PAGE, &file) == -EINVAL);
    file.offset = UINT64_MAX - PAGE + 1;
    CHECK(guest_memory_add_from(&memory, 0, 2 * PAGE, &file) == -EINVAL);
    file.offset = 2 * PAGE;
    CHECK(guest_memory_add_from(&memory, 0, 2 * PAGE, &file) == 0);
    char *hva = (char *)memory.regions[0].hva;
    CHECK(memcmp(hva, "snapshot", 8) == 0);
    memcpy(hva, "changed!", 8);
    char content[8];
    CHECK(pread(fd, content, 8, 2 * PAGE) == 8 && memcmp(content, "snapshot", 8) == 0);
    CHECK(guest_memory_discard(&memory, 0, PAGE) == 0 && memcmp(hva, "snapshot", 8) == 0);
    guest_memory_free(&memory);
    close(fd);
}

static void persistent_memory_is_the_file(void)
{
    struct guest_memory memory = {0};
    int fd = host_file(3 * PAGE);
    struct guest_memory_source file = {
        .backing = GUEST_MEMORY_PERSISTENT, .fd = fd, .file_size = 4 * PAGE};
    CHECK(guest_memory_add_from(&memory, PAGE, 4 * PAGE, &file) == -ENODATA);
    file.file_size = 0;
    CHECK(guest_memory_add_from(&memory, PAGE, 4 * PAGE, &file) == -EINVAL);
    file.file_size = 3 * PAGE;
    CHECK(guest_memory_add_from(&memory, PAGE, 2 * PAGE, &file) == -EINVAL);
    CHECK(guest_memory_add_from(&memory, PAGE, 3 * PAGE, &file) == 0);
    char *at = guest_memory_at(&memory, 2 * PAGE, 2 * PAGE);
    CHECK(at && guest_memory_readable_at(&memory, 2 * PAGE, 2 * PAGE) == at);
    memcpy(at, "written", 8);
    char content[8];
    CHECK(pread(fd, content, 8, PAGE) == 8 && strcmp(content, "written") == 0);
    CHECK(guest_memory_discard(&memory, PAGE, PAGE) == -EOPNOTSUPP);
    CHECK(guest_memory_map_file(&memory, PAGE, PAGE, fd, 0) == -EOPNOTSUPP);
    guest_memory_free(&memory);
    close(fd);
}

static void read_only_memory_is_found_by_readers_alone(void)
{
    struct guest_memory memory = {0};
    int fd = host_file(PAGE + 5);
    CHECK(pwrite(fd, "hello", 5, PAGE) == 5);
    const struct guest_memory_source file = {
        .backing = GUEST_MEMORY_PERSISTENT, .fd = fd, .file_size = PAGE + 5, .read_only = true};
    CHECK(guest_memory_add(&memory, 0, PAGE) == 0);
    CHECK(guest_memory_add_from(&memory, PAGE, 4 * PAGE, &file) == 0);
    for (uint64_t gpa = PAGE; gpa < 5 * PAGE; gpa += PAGE)
        CHECK(!guest_memory_at(&memory, gpa, 1) && guest_memory_readable_at(&memory, gpa, PAGE));
    CHECK(!guest_memory_at(&memory, 0, PAGE + 1) &&
          !guest_memory_readable_at(&memory, 0, PAGE + 1));
    CHECK(!guest_memory_readable_at(&memory, 4 * PAGE, PAGE + 1));
    const char *at = guest_memory_readable_at(&memory, 2 * PAGE, 3 * PAGE);
    CHECK(memcmp(at, "hello", 6) == 0 && at[3 * PAGE - 1] == 0);
    guest_memory_free(&memory);
    close(fd);
}

static void a_truncated_file_reads_as_zeroes(void)
{
    struct guest_memory memory = {0};
    int fds[] = {host_file(4 * PAGE), host_file(4 * PAGE)};
    for (unsigned i = 0; i < 2; i++) {
        const struct guest_memory_source file = {.backing = GUEST_MEMORY_PERSISTENT,
                                                 .fd = fds[i],
                                                 .file_size = 4 * PAGE,
                                                 .read_only = i == 1};
        CHECK(pwrite(fds[i], "data", 4, 0) == 4 && pwrite(fds[i], "gone", 4, 3 * PAGE) == 4);
        CHECK(guest_memory_add_from(&memory, 4 * i * PAGE, 4 * PAGE, &file) == 0);
        CHECK(memcmp(memory.regions[i].hva + 3 * PAGE, "gone", 4) == 0);
        CHECK(ftruncate(fds[i], PAGE) == 0);
        const volatile uint8_t *hva = memory.regions[i].hva;
        errno = 77;
        CHECK(hva[3 * PAGE] == 0 && hva[2 * PAGE - 1] == 0 && hva[0] == 'd');
        CHECK(errno == 77);
    }
    /* A write, too, and by a thread that blocks the signals of the process. */
    sigset_t blocked, before;
    thread_signals_fill(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    volatile uint8_t *writable = guest_memory_at(&memory, 2 * PAGE, PAGE);
    writable[5] = 9;
    CHECK(writable[5] == 9 && writable[4] == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    guest_memory_free(&memory);

    /* Other mappings are not replaced: such an access ends the process as ever. */
    uint8_t *other = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fds[0], 0);
    pid_t child = fork();
    if (child == 0) {
        freopen("/dev/null", "w", stderr);
        _exit(*(volatile uint8_t *)(other + 2 * PAGE));
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status != 0);
    munmap(other, 4 * PAGE);
    close(fds[0]);
    close(fds[1]);
}

static void discarded_pages_are_zero(void)
{
    struct guest_memory memory = {0};
    CHECK(guest_memory_add(&memory, 0, 4 * PAGE) == 0);
    memset(memory.regions[0].hva, 7, 4 * PAGE);
    CHECK(guest_memory_discard(&memory, PAGE, 2 * PAGE) == 0);
    const uint8_t *hva = memory.regions[0].hva;
    CHECK(hva[PAGE - 1] == 7 && hva[PAGE] == 0 && hva[3 * PAGE - 1] == 0 && hva[3 * PAGE] == 7);
    CHECK(guest_memory_discard(&memory, 1, PAGE) == -EINVAL);
    CHECK(guest_memory_discard(&memory, PAGE, 1) == -EINVAL);
    CHECK(guest_memory_discard(&memory, PAGE, 0) == -EINVAL);
    CHECK(guest_memory_discard(&memory, 3 * PAGE, 2 * PAGE) == -EFAULT);
    guest_memory_free(&memory);
}

/* Whether /proc/self/smaps has a mapping of exactly this range, with huge pages advised ("hg"). */
static bool is_advised(const uint8_t *start, uint64_t size)
{
    char line[512], range[64];
    bool found = false, advised = false;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    snprintf(range, sizeof range, "%lx-%lx ", (unsigned long)start, (unsigned long)(start + size));
    while (fgets(line, sizeof line, smaps)) {
        if (strncmp(line, range, strlen(range)) == 0)
            found = true;
        else if (found && strncmp(line, "VmFlags:", 8) == 0) {
            advised = strstr(line, " hg ") != NULL;
            break;
        }
    }
    fclose(smaps);
    return found && advised;
}

/* Also where the guest's address is none of a huge page. */
static void huge_pages_of_guest_and_host_are_the_same(void)
{
    const uint64_t huge = HUGE_MAPPING_PAGE_SIZE, odd = 5 * huge + 3 * PAGE;
    const struct guest_memory_source source = {.backing = GUEST_MEMORY_ANONYMOUS,
                                               .huge_pages = true};
    struct guest_memory memory = {0};
    CHECK(guest_memory_add_from(&memory, 0, 2 * huge, &source) == 0);
    CHECK(guest_memory_add_from(&memory, odd, 3 * huge + PAGE, &source) == 0);
    CHECK(guest_memory_add_from(&memory, 1ull << 40, -(2ull << 40), &source) == -ENOMEM);
    CHECK(memory.count == 2);
    for (unsigned i = 0; i < memory.count; i++) {
        const struct guest_memory_region *region = &memory.regions[i];
        CHECK(((uintptr_t)region->hva - region->gpa) % huge == 0);
        CHECK(is_advised(region->hva, region->size));
        memset(region->hva, 7, region->size);
    }
    uint8_t *hva = memory.regions[0].hva;
    CHECK(guest_memory_discard(&memory, huge, huge) == 0);
    CHECK(hva[huge - 1] == 7 && hva[huge] == 0 && hva[2 * huge - 1] == 0);
    CHECK(guest_memory_discard(&memory, PAGE, PAGE) == 0);
    CHECK(hva[PAGE - 1] == 7 && hva[PAGE] == 0 && hva[2 * PAGE] == 7);
    guest_memory_free(&memory);
}

static void other_memory_is_in_small_pages(void)
{
    struct guest_memory memory = {0};
    CHECK(guest_memory_add(&memory, 0, 4 * HUGE_MAPPING_PAGE_SIZE) == 0);
    CHECK(!is_advised(memory.regions[0].hva, memory.regions[0].size));
    guest_memory_free(&memory);
}

static void zero_pages_are_holes_of_the_file(void)
{
    struct guest_memory memory = {0};
    uint8_t page[PAGE];
    uint64_t written;
    struct stat status;
    int fd = memfd_create("saved", MFD_CLOEXEC);
    CHECK(guest_memory_add(&memory, 0x10000, 6 * PAGE) == 0);
    uint8_t *hva = memory.regions[0].hva;
    hva[PAGE] = 1;
    hva[3 * PAGE - 1] = 2;
    hva[5 * PAGE + 7] = 3;
    CHECK(guest_memory_write_out(&memory, 0x10000, 6 * PAGE, fd, 2 * PAGE, &written) == 0);
    CHECK(written == 3 * PAGE);
    CHECK(fstat(fd, &status) == 0 && status.st_size == 8 * PAGE);
    CHECK(status.st_blocks * 512 == 3 * PAGE);
    for (unsigned i = 0; i < 6; i++) {
        CHECK(pread(fd, page, PAGE, (2 + i) * PAGE) == PAGE);
        CHECK(memcmp(page, hva + i * PAGE, PAGE) == 0);
    }
    CHECK(guest_memory_write_out(&memory, 0x10000, PAGE, fd, 0, &written) == 0 && written == 0);
    CHECK(guest_memory_write_out(&memory, 0x10001, PAGE, fd, 0, &written) == -EINVAL);
    CHECK(guest_memory_write_out(&memory, 0x10000, 7 * PAGE, fd, 0, &written) == -EFAULT);
    CHECK(guest_memory_write_out(&memory, 0x11000, PAGE, -1, 0, &written) == -EBADF);

    struct guest_memory copy = {0};
    CHECK(guest_memory_add(&copy, 0x10000, 6 * PAGE) == 0);
    CHECK(guest_memory_read_in(&copy, 0x10000, 6 * PAGE, fd, 2 * PAGE) == 0);
    CHECK(memcmp(copy.regions[0].hva, hva, 6 * PAGE) == 0);
    CHECK(guest_memory_read_in(&copy, 0x10000, 6 * PAGE, fd, 3 * PAGE) == -ENODATA);
    CHECK(guest_memory_read_in(&copy, 0x10001, PAGE, fd, 0) == -EINVAL);
    CHECK(guest_memory_read_in(&copy, 0x10000, 7 * PAGE, fd, 0) == -EFAULT);
    CHECK(guest_memory_read_in(&copy, 0x11000, PAGE, -1, 0) == -EBADF);
    guest_memory_free(&copy);
    close(fd);
    guest_memory_free(&memory);
}

static void writes_are_logged(void)
{
    struct guest_memory memory = {0};
    uint64_t bitmap[2] = {0};
    CHECK(guest_memory_add(&memory, 0, 70 * PAGE) == 0);
    CHECK(guest_memory_add(&memory, 0x100000, PAGE) == 0);
    CHECK(!guest_memory_is_watched(&memory));
    guest_memory_tell(&memory, 0, 1); /* no log: nothing happens */
    CHECK(guest_memory_start_log(&memory) == 0 && guest_memory_start_log(&memory) == 0);
    CHECK(guest_memory_is_watched(&memory));
    guest_memory_tell(&memory, PAGE - 1, 2);
    guest_memory_tell(&memory, 63 * PAGE, 2 * PAGE);
    guest_memory_tell(&memory, 5 * PAGE, 0);
    guest_memory_tell_host(&memory, memory.regions[1].hva + 8, 8);
    guest_memory_tell(&memory, 70 * PAGE, 1);            /* not memory */
    guest_memory_tell(&memory, 69 * PAGE, 2 * PAGE);     /* not all of it */
    guest_memory_tell(&memory, UINT64_MAX - PAGE, PAGE); /* nor this */
    guest_memory_take_dirty(&memory, 0, bitmap);
    CHECK(bitmap[0] == (3 | 1ull << 63) && bitmap[1] == 1);
    bitmap[0] = bitmap[1] = 0;
    guest_memory_take_dirty(&memory, 0, bitmap);
    CHECK(bitmap[0] == 0 && bitmap[1] == 0);
    guest_memory_take_dirty(&memory, 1, bitmap);
    CHECK(bitmap[0] == 1);
    CHECK(guest_memory_discard(&memory, 2 * PAGE, PAGE) == 0);
    guest_memory_take_dirty(&memory, 0, bitmap);
    CHECK(bitmap[0] == 5);
    guest_memory_stop_log(&memory);
    CHECK(!guest_memory_is_watched(&memory));
    guest_memory_take_dirty(&memory, 0, bitmap);
    guest_memory_free(&memory);
}

int main(void)
{
    shared_memory_is_another_mapping_of_its_memfd();
    file_memory_is_a_private_copy();
    persistent_memory_is_the_file();
    read_only_memory_is_found_by_readers_alone();
    a_truncated_file_reads_as_zeroes();
    discarded_pages_are_zero();
    huge_pages_of_guest_and_host_are_the_same();
    other_memory_is_in_small_pages();
    zero_pages_are_holes_of_the_file();
    writes_are_logged();
    lookups_stay_in_one_region();
    bad_regions_are_refused();
    a_mapped_file_is_copied_on_write();
    return check_finish();
}
