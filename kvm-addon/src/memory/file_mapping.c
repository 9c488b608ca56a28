#include "file_mapping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE 4096u

/* Address ranges; `start` is 0 in a free entry. Written under the lock, read by the handler. */
static struct range {
    uintptr_t start;
    uintptr_t end;
} ranges[FILE_MAPPINGS_MAX];
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;

static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction previous;

static bool is_mapped(uintptr_t address)
{
    for (unsigned i = 0; i < FILE_MAPPINGS_MAX; i++) {
        uintptr_t start = __atomic_load_n(&ranges[i].start, __ATOMIC_ACQUIRE);
        if (start && address >= start && address < ranges[i].end)
            return true;
    }
    return false;
}

/* An access beyond the end of a file. System calls here are those that threads of a sandbox have.
 */
static void replace_page(int signal, siginfo_t *info, void *context)
{
    int error = errno;
    uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE_SIZE - 1);
    if (info->si_code == BUS_ADRERR && is_mapped(page) &&
        mmap((void *)page, PAGE_SIZE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
        errno = error;
        return;
    }
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(signal, info, context);
        return;
    }
    if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
        return;
    }
    /* The instruction is executed again, and ends the process. */
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(signal, &standard, NULL);
}

static void install_handler(void)
{
    struct sigaction action = {.sa_sigaction = replace_page, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
}

static int range_add(uintptr_t start, uint64_t size)
{
    int error = -ENOSPC;
    pthread_once(&handler_once, install_handler);
    pthread_mutex_lock(&ranges_lock);
    for (unsigned i = 0; i < FILE_MAPPINGS_MAX; i++) {
        if (ranges[i].start)
            continue;
        ranges[i].end = start + size;
        __atomic_store_n(&ranges[i].start, start, __ATOMIC_RELEASE);
        error = 0;
        break;
    }
    pthread_mutex_unlock(&ranges_lock);
    return error;
}

static void range_remove(uintptr_t start)
{
    pthread_mutex_lock(&ranges_lock);
    for (unsigned i = 0; i < FILE_MAPPINGS_MAX; i++) {
        if (ranges[i].start == start)
            __atomic_store_n(&ranges[i].start, 0, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&ranges_lock);
}

static int check_source(const struct file_mapping_source *source, uint64_t size)
{
    struct stat status;
    if (source->file_size == 0 || source->file_size > size)
        return -EINVAL;
    if (fstat(source->fd, &status) < 0)
        return -errno;
    /* The size of a block device is not here, and does not change. */
    return S_ISREG(status.st_mode) && source->file_size > (uint64_t)status.st_size ? -ENODATA : 0;
}

int file_mapping_create(const struct file_mapping_source *source, uint64_t size, void **hva)
{
    int protection = source->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    int error = check_source(source, size);
    if (error < 0)
        return error;
    void *start = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return -errno;
    if (mmap(start, source->file_size, protection, MAP_SHARED | MAP_FIXED, source->fd, 0) ==
        MAP_FAILED)
        error = -errno;
    if (error == 0)
        error = range_add((uintptr_t)start, size);
    if (error < 0) {
        munmap(start, size);
        return error;
    }
    *hva = start;
    return 0;
}

void file_mapping_free(void *hva, uint64_t size)
{
    range_remove((uintptr_t)hva);
    munmap(hva, size);
}
