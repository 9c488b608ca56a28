/* Pages that are copied, moved, released, protected and shared. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "soak.h"

#define COW_PAGES 300u
#define COW_ROUNDS 6u

/* A child and its parent write the same pages; each sees its own. */
static int cow_child(volatile uint32_t *words, unsigned round)
{
    int wrong = 0;

    soak_spin(round & 1 ? LONG : SHORT);
    for (unsigned i = 0; i < COW_PAGES; i++) {
        wrong |= words[i * 1024] != i + round * 1000;
        words[i * 1024] = 77;
    }
    soak_spin(LONG / 2);
    for (unsigned i = 0; i < COW_PAGES; i++)
        wrong |= words[i * 1024] != 77;
    return wrong;
}

void soak_copy_on_write(void)
{
    uint8_t *pages = soak_pages(COW_PAGES, PROT_READ | PROT_WRITE);
    volatile uint32_t *words = (volatile uint32_t *)pages;

    for (unsigned i = 0; i < COW_PAGES; i++)
        words[i * 1024] = i;
    soak_spin(LONG);
    for (unsigned round = 0; round < COW_ROUNDS; round++) {
        pid_t child = fork();
        if (child == 0)
            _exit(cow_child(words, round));
        soak_spin(round & 2 ? 2 * LONG : SHORT);
        /* The parent changes some pages before the child has ended, the others afterwards. */
        for (unsigned i = 0; i < COW_PAGES; i += 3)
            CHECK(words[i * 1024] == i + round * 1000);
        for (unsigned i = 0; i < COW_PAGES; i += 3)
            words[i * 1024] = i + (round + 1) * 1000;
        CHECK(soak_wait(child) == 0);
        soak_spin(LONG / 2);
        for (unsigned i = 0; i < COW_PAGES; i++) {
            CHECK(words[i * 1024] == i + (i % 3 ? round : round + 1) * 1000);
            words[i * 1024] = i + (round + 1) * 1000;
        }
    }
    munmap(pages, COW_PAGES * PAGE);
}

#define AREAS 64u
#define MAPPING_ROUNDS 1500u

static struct area {
    uint8_t *at;
    size_t bytes;
    uint8_t tag;
} areas[AREAS];

static void area_check(const struct area *area)
{
    for (size_t i = 0; i < area->bytes; i += PAGE)
        CHECK(area->at[i] == area->tag && area->at[i + PAGE - 1] == area->tag);
}

static void area_open(struct area *area)
{
    area->bytes = (1 + soak_below(16)) * PAGE;
    area->tag = (uint8_t)(1 + soak_below(255));
    area->at = soak_pages(area->bytes / PAGE, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < area->bytes; i += 1000)
        CHECK(area->at[i] == 0);
    memset(area->at, area->tag, area->bytes);
}

static void area_grow(struct area *area)
{
    size_t more = 2 * PAGE;
    uint8_t *moved = mremap(area->at, area->bytes, area->bytes + more, MREMAP_MAYMOVE);

    CHECK(moved != MAP_FAILED);
    if (moved == MAP_FAILED)
        return;
    area->at = moved;
    for (size_t i = 0; i < more; i++)
        CHECK(moved[area->bytes + i] == 0);
    memset(moved + area->bytes, area->tag, more);
    area->bytes += more;
}

static void area_drop(struct area *area)
{
    CHECK(!madvise(area->at, area->bytes, MADV_DONTNEED));
    for (size_t i = 0; i < area->bytes; i += 512)
        CHECK(area->at[i] == 0);
    memset(area->at, area->tag, area->bytes);
}

static void area_close(struct area *area)
{
    munmap(area->at, area->bytes);
    area->at = NULL;
}

/* Frames are returned to the kernel and reused elsewhere: each mapping sees its own content. */
void soak_mappings(void)
{
    for (unsigned round = 0; round < MAPPING_ROUNDS; round++) {
        struct area *area = &areas[soak_below(AREAS)];
        if (!area->at) {
            area_open(area);
        } else {
            area_check(area);
            switch (soak_below(4)) {
            case 0:
                area_grow(area);
                break;
            case 1:
                area_drop(area);
                break;
            default:
                area_close(area);
            }
        }
        if (round % 50 == 0)
            soak_spin(LONG / 5);
    }
    for (unsigned i = 0; i < AREAS; i++) {
        if (areas[i].at) {
            area_check(&areas[i]);
            area_close(&areas[i]);
        }
    }
}

#define PROTECTED_PAGES 16u
#define PROTECTION_ROUNDS 90u

static void check_forbidden(volatile int *word, unsigned spin)
{
    CHECK(FAULT_OF(*word) == SIGSEGV);
    soak_spin(spin);
    CHECK(FAULT_OF(*word = 1) == SIGSEGV);
}

/* Revoked rights are gone immediately, and granted ones are there. */
void soak_protection(void)
{
    static const int rights[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    volatile uint8_t *pages = soak_pages(PROTECTED_PAGES, PROT_READ | PROT_WRITE);

    for (unsigned i = 0; i < PROTECTED_PAGES; i++)
        pages[i * PAGE] = (uint8_t)i;
    soak_spin(LONG);
    for (unsigned round = 0; round < PROTECTION_ROUNDS; round++) {
        unsigned i = soak_below(PROTECTED_PAGES), right = soak_below(3);
        volatile uint8_t *page = pages + i * PAGE;
        mprotect((void *)page, PAGE, rights[right]);
        if (round & 1)
            soak_spin(LONG / 2);
        int fault = FAULT_OF(page[1] = (uint8_t)round);
        CHECK(fault == (right == 2 ? 0 : SIGSEGV));
        CHECK(!fault || soak_fault_address == (uintptr_t)(page + 1));
        fault = FAULT_OF(page[0]);
        CHECK(fault == (right ? 0 : SIGSEGV));
        mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE);
        CHECK(page[0] == i);
    }
    munmap((void *)pages, PROTECTED_PAGES * PAGE);
    CHECK(FAULT_OF(pages[0] = 1) == SIGSEGV);
    /*
     * What belongs to the kernel: its text, its memory; the top of the address space, where tsvm's
     * engine has its own (whose first page, of six bytes of code, it cannot but let programs read).
     */
    static const uintptr_t forbidden[] = {
        0xffffffff81000000, 0xffff888000000000, 0xffffffffffe01000, 0xffffffffffe01006,
        0xffffffffffe02000, 0xffffffffffe03000, 0xffffffffffe05000, 0};
    for (unsigned i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        check_forbidden((volatile int *)forbidden[i], i & 1 ? LONG : SHORT);
    CHECK(FAULT_OF(*(volatile int *)0xffffffffffe00000 = 1) == SIGSEGV);
    CHECK(FAULT_OF(*(volatile int *)0x800000000000) == SIGSEGV);
}

#define FILE_BLOCKS 40u
#define FILE_BLOCK 8192u

/* A file that is written, mapped and truncated: both ways see the same bytes. */
void soak_files(void)
{
    static uint8_t block[FILE_BLOCK], back[FILE_BLOCK];
    int fd = open("/tmp/soak-file", O_RDWR | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0);
    for (unsigned i = 0; i < FILE_BLOCKS; i++) {
        memset(block, (int)i, sizeof block);
        CHECK(write(fd, block, sizeof block) == sizeof block);
    }
    volatile uint8_t *map =
        mmap(NULL, FILE_BLOCKS * FILE_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    for (unsigned i = 0; i < FILE_BLOCKS; i++) {
        CHECK(map[i * FILE_BLOCK + 5] == i);
        map[i * FILE_BLOCK + 6] = (uint8_t)(i + 100);
    }
    soak_spin(LONG);
    for (unsigned i = 0; i < FILE_BLOCKS; i++) {
        off_t at = (off_t)i * FILE_BLOCK;
        CHECK(pread(fd, back, sizeof back, at) == sizeof back);
        CHECK(back[6] == i + 100 && back[7] == i);
        back[9] = 200;
        CHECK(pwrite(fd, back, sizeof back, at) == sizeof back);
        CHECK(map[at + 9] == 200);
    }
    CHECK(!ftruncate(fd, FILE_BLOCK));
    CHECK(FAULT_OF(map[5 * FILE_BLOCK]) == SIGBUS);
    CHECK(map[9] == 200);
    munmap((void *)map, FILE_BLOCKS * FILE_BLOCK);
    close(fd);
    unlink("/tmp/soak-file");
}
