#include "extent_map.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

static uint64_t extent_end(const struct extent *extent)
{
    return extent->offset + extent->length;
}

/* Orders extents by offset. Overlapping extents compare equal, so that a search finds overlaps. */
static int extent_compare(const void *left, const void *right)
{
    const struct extent *a = left, *b = right;
    if (extent_end(a) <= b->offset)
        return -1;
    return a->offset >= extent_end(b) ? 1 : 0;
}

static bool extent_is_writable(const struct extent *extent)
{
    return !(extent->flags & (EXTENT_ZERO | EXTENT_READ_ONLY));
}

/* Whether `second` starts at the end of `first`, both in the guest's disk and in the host file. */
static bool extent_continues(const struct extent *first, const struct extent *second)
{
    if (first->flags != second->flags || extent_end(first) != second->offset)
        return false;
    return (first->flags & EXTENT_ZERO) ||
           (first->fd == second->fd && first->fd_offset + first->length == second->fd_offset);
}

/* Drops the first `bytes` of an extent. */
static void extent_trim_front(struct extent *extent, uint64_t bytes)
{
    extent->offset += bytes;
    extent->fd_offset += bytes;
    extent->length -= bytes;
}

void extent_map_init(struct extent_map *map, struct wake quiet)
{
    *map = (struct extent_map){.generation = 1, .quiet = quiet};
    pthread_mutex_init(&map->lock, NULL);
    map->uses.previous = map->uses.next = &map->uses;
}

void extent_map_destroy(struct extent_map *map)
{
    tdestroy(map->tree, free);
    free(map->files);
    stock_destroy(&map->stock);
    pthread_mutex_destroy(&map->lock);
}

/* Index of the file with the lowest descriptor >= `fd`; file_count if there is none. */
static unsigned file_index(const struct extent_map *map, int fd)
{
    unsigned i = 0;
    while (i < map->file_count && map->files[i].fd < fd)
        i++;
    return i;
}

static struct extent_file *file_find(const struct extent_map *map, int fd)
{
    unsigned i = file_index(map, fd);
    return i < map->file_count && map->files[i].fd == fd ? &map->files[i] : NULL;
}

static void file_remove(struct extent_map *map, struct extent_file *file)
{
    size_t following = (size_t)(&map->files[map->file_count] - (file + 1));
    memmove(file, file + 1, following * sizeof *file);
    map->file_count--;
}

/* Counts another writable extent in a file. */
static int file_hold(struct extent_map *map, int fd)
{
    struct extent_file *file = file_find(map, fd);
    if (!file) {
        struct extent_file *files = realloc(map->files, (map->file_count + 1) * sizeof *map->files);
        if (!files)
            return -ENOMEM;
        map->files = files;
        file = &files[file_index(map, fd)];
        memmove(file + 1, file, (size_t)(&files[map->file_count] - file) * sizeof *file);
        map->file_count++;
        *file = (struct extent_file){.fd = fd};
    }
    file->extents++;
    return 0;
}

static void file_drop(struct extent_map *map, int fd)
{
    struct extent_file *file = file_find(map, fd);
    if (--file->extents == 0 && !file->written)
        file_remove(map, file);
}

/* Returns any extent that overlaps the range, or NULL. */
static struct extent *tree_find(struct extent_map *map, uint64_t offset, uint64_t length)
{
    struct extent key = {.offset = offset, .length = length};
    if (map->last && extent_compare(map->last, &key) == 0)
        return map->last;
    struct extent **node = tfind(&key, &map->tree, extent_compare);
    return node ? *node : NULL;
}

static void tree_remove(struct extent_map *map, struct extent *extent)
{
    tdelete(extent, &map->tree, extent_compare);
    map->last = NULL;
    map->count--;
    if (extent_is_writable(extent))
        file_drop(map, extent->fd);
    free(extent);
}

/* Adds an extent that does not overlap others. */
static int tree_insert(struct extent_map *map, const struct extent *extent)
{
    struct extent *copy = malloc(sizeof *copy);
    if (!copy)
        return -ENOMEM;
    *copy = *extent;
    if (extent_is_writable(copy) && file_hold(map, copy->fd) < 0) {
        free(copy);
        return -ENOMEM;
    }
    if (!tsearch(copy, &map->tree, extent_compare)) {
        if (extent_is_writable(copy))
            file_drop(map, copy->fd);
        free(copy);
        return -ENOMEM;
    }
    map->count++;
    return 0;
}

/*
 * Removes all extents in a range. An extent that extends beyond the range is trimmed in place: its
 * order among its neighbours does not change.
 */
static void range_clear(struct extent_map *map, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    struct extent *extent;
    while ((extent = tree_find(map, offset, length)) != NULL) {
        struct extent rest = *extent;
        bool sticks_out_behind = extent_end(extent) > end;
        if (extent->offset < offset) {
            extent->length = offset - extent->offset;
            if (sticks_out_behind) {
                extent_trim_front(&rest, end - rest.offset);
                /* On failure the rest becomes a gap, and the script is asked again. */
                tree_insert(map, &rest);
            }
        } else if (sticks_out_behind) {
            extent_trim_front(extent, end - extent->offset);
        } else {
            tree_remove(map, extent);
        }
    }
}

/* Merges `extent` with adjacent extents that are contiguous in disk and file, and removes those. */
static void join_neighbours(struct extent_map *map, struct extent *extent)
{
    struct extent *before = extent->offset > 0 ? tree_find(map, extent->offset - 1, 1) : NULL;
    if (before && extent_continues(before, extent)) {
        extent->offset = before->offset;
        extent->fd_offset = before->fd_offset;
        extent->length += before->length;
        tree_remove(map, before);
    }
    struct extent *after = tree_find(map, extent_end(extent), 1);
    if (after && extent_continues(extent, after)) {
        extent->length += after->length;
        tree_remove(map, after);
    }
}

static bool extent_is_valid(const struct extent *extent)
{
    uint64_t end = extent->offset + extent->length;
    uint64_t fd_end = extent->fd_offset + extent->length;
    if (extent->length == 0 || end < extent->offset || end > INT64_MAX)
        return false;
    if (extent->offset % EXTENT_ALIGN != 0 || extent->length % EXTENT_ALIGN != 0)
        return false;
    if (extent->flags & EXTENT_ZERO)
        return true;
    return extent->fd >= 0 && fd_end >= extent->fd_offset && fd_end <= INT64_MAX;
}

int extent_map_push(struct extent_map *map, const struct extent *extents, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!extent_is_valid(&extents[i]))
            return -EINVAL;
    }
    int error = 0;
    pthread_mutex_lock(&map->lock);
    for (size_t i = 0; i < count; i++) {
        struct extent extent = extents[i];
        range_clear(map, extent.offset, extent.length);
        join_neighbours(map, &extent);
        if (tree_insert(map, &extent) < 0)
            error = -ENOMEM;
    }
    pthread_mutex_unlock(&map->lock);
    return error;
}

/* True if all uses of this generation and of older ones have ended. */
static bool generation_is_quiet(const struct extent_map *map, uint64_t generation)
{
    const struct extent_use *oldest = map->uses.next;
    return oldest == &map->uses || oldest->generation > generation;
}

uint64_t extent_map_withdraw(struct extent_map *map, uint64_t offset, uint64_t length)
{
    if (length > UINT64_MAX - offset)
        length = UINT64_MAX - offset;
    pthread_mutex_lock(&map->lock);
    if (length > 0)
        range_clear(map, offset, length);
    uint64_t ticket = map->generation++;
    if (!generation_is_quiet(map, ticket))
        map->awaited = ticket;
    pthread_mutex_unlock(&map->lock);
    return ticket;
}

bool extent_map_is_quiet(struct extent_map *map, uint64_t ticket)
{
    pthread_mutex_lock(&map->lock);
    bool quiet = generation_is_quiet(map, ticket);
    pthread_mutex_unlock(&map->lock);
    return quiet;
}

static void use_begin(struct extent_map *map, struct extent_use *use)
{
    use->generation = map->generation;
    use->previous = map->uses.previous;
    use->next = &map->uses;
    use->previous->next = use;
    map->uses.previous = use;
}

static bool access_allowed(const struct extent *extent, enum extent_access access)
{
    if (access == EXTENT_FOR_READ)
        return true;
    if (extent->flags & EXTENT_READ_ONLY)
        return false;
    return access == EXTENT_FOR_DISCARD || !(extent->flags & EXTENT_ZERO);
}

/*
 * Claims space from the stock for the units of a zero extent that overlap [offset, offset +
 * length), as far as the stock suffices. Returns the extent at `offset`, unchanged if nothing was
 * claimed, or NULL when out of memory.
 */
static struct extent *zeroes_claim(struct extent_map *map, struct extent *zeroes, uint64_t offset,
                                   uint64_t length)
{
    uint64_t unit = map->stock.unit;
    if (unit == 0)
        return zeroes;
    uint64_t start = offset & ~(unit - 1);
    if (start < zeroes->offset)
        return zeroes;
    uint64_t whole = (extent_end(zeroes) - start) & ~(unit - 1);
    uint64_t wanted = (offset + length - start + unit - 1) & ~(unit - 1);
    struct claim claim = {.offset = start, .length = wanted < whole ? wanted : whole};
    if (claim.length == 0 || !stock_find(&map->stock, &claim))
        return zeroes;

    struct extent place = {.offset = claim.offset,
                           .length = claim.length,
                           .fd = map->stock.fd,
                           .fd_offset = claim.fd_offset};
    range_clear(map, place.offset, place.length);
    join_neighbours(map, &place);
    if (tree_insert(map, &place) < 0)
        return NULL;
    if (stock_claim(&map->stock, &claim))
        __atomic_store_n(&map->stock_is_low, true, __ATOMIC_RELAXED);
    return tree_find(map, offset, 1);
}

unsigned extent_map_acquire(struct extent_map *map, struct extent_use *use,
                            enum extent_access access, uint64_t offset, uint64_t length,
                            struct extent *found, unsigned max)
{
    unsigned count = 0;
    pthread_mutex_lock(&map->lock);
    while (count < max && length > 0) {
        struct extent *extent = tree_find(map, offset, 1);
        if (extent && access == EXTENT_FOR_WRITE && extent->flags == EXTENT_ZERO)
            extent = zeroes_claim(map, extent, offset, length);
        if (!extent || !access_allowed(extent, access))
            break;
        map->last = extent;
        if (access != EXTENT_FOR_READ && extent_is_writable(extent))
            file_find(map, extent->fd)->written = true;
        struct extent *cut = &found[count++];
        *cut = *extent;
        extent_trim_front(cut, offset - cut->offset);
        if (cut->length > length)
            cut->length = length;
        offset += cut->length;
        length -= cut->length;
    }
    if (count > 0)
        use_begin(map, use);
    pthread_mutex_unlock(&map->lock);
    return count;
}

unsigned extent_map_acquire_files(struct extent_map *map, struct extent_use *use, int from,
                                  int *fds, unsigned max)
{
    unsigned count = 0;
    pthread_mutex_lock(&map->lock);
    for (unsigned i = file_index(map, from); i < map->file_count && count < max; i++)
        fds[count++] = map->files[i].fd;
    if (count > 0)
        use_begin(map, use);
    pthread_mutex_unlock(&map->lock);
    return count;
}

void extent_map_release(struct extent_map *map, struct extent_use *use)
{
    pthread_mutex_lock(&map->lock);
    use->previous->next = use->next;
    use->next->previous = use->previous;
    /* The owner waits for the end of the last use of a generation. */
    bool now_quiet = use->generation <= map->awaited && generation_is_quiet(map, use->generation);
    pthread_mutex_unlock(&map->lock);
    if (now_quiet)
        wake_notify(&map->quiet);
}

int extent_map_add_stock(struct extent_map *map, int fd, uint64_t unit, uint64_t fd_offset,
                         uint64_t length)
{
    pthread_mutex_lock(&map->lock);
    int error = stock_add(&map->stock, fd, unit, fd_offset, length);
    pthread_mutex_unlock(&map->lock);
    return error;
}

void extent_map_set_claiming(struct extent_map *map, bool allowed)
{
    pthread_mutex_lock(&map->lock);
    map->stock.claiming_off = !allowed;
    pthread_mutex_unlock(&map->lock);
}

size_t extent_map_take_claims(struct extent_map *map, struct claim *claims, size_t max)
{
    pthread_mutex_lock(&map->lock);
    size_t count = stock_take_claims(&map->stock, claims, max);
    pthread_mutex_unlock(&map->lock);
    return count;
}

bool extent_map_has_claims(struct extent_map *map)
{
    pthread_mutex_lock(&map->lock);
    bool has = map->stock.claim_count > 0;
    pthread_mutex_unlock(&map->lock);
    return has;
}

bool extent_map_take_stock_low(struct extent_map *map)
{
    return __atomic_load_n(&map->stock_is_low, __ATOMIC_RELAXED) &&
           __atomic_exchange_n(&map->stock_is_low, false, __ATOMIC_RELAXED);
}
