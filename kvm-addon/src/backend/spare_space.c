#include "spare_space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Offsets and lengths of extents are multiples of it. */
#define UNIT_MIN 512u

void spare_space_destroy(struct spare_space *spare)
{
    free(spare->runs);
    free(spare->claims);
    *spare = (struct spare_space){0};
}

static bool run_is_valid(const struct spare_space *spare, int fd, uint64_t unit, uint64_t fd_offset,
                         uint64_t length)
{
    if (fd < 0 || unit < UNIT_MIN || (unit & (unit - 1)) != 0)
        return false;
    if (spare->unit != 0 && (unit != spare->unit || fd != spare->fd))
        return false;
    if (length == 0 || ((fd_offset | length) & (unit - 1)) != 0)
        return false;
    return length <= INT64_MAX && fd_offset <= INT64_MAX - length;
}

int spare_space_add(struct spare_space *spare, int fd, uint64_t unit, uint64_t fd_offset,
                    uint64_t length)
{
    if (!run_is_valid(spare, fd, unit, fd_offset, length))
        return -EINVAL;
    /* Here, so that a claim needs no memory. */
    uint64_t claims = spare->claim_count + (spare->bytes + length) / unit;
    if (claims > SIZE_MAX / sizeof(*spare->claims))
        return -ENOMEM;
    void *grown = realloc(spare->claims, claims * sizeof(*spare->claims));
    if (!grown)
        return -ENOMEM;
    spare->claims = grown;
    grown = realloc(spare->runs, (spare->run_count + 1) * sizeof(*spare->runs));
    if (!grown)
        return -ENOMEM;
    spare->runs = grown;
    spare->runs[spare->run_count++] = (struct spare_run){.fd_offset = fd_offset, .length = length};
    spare->fd = fd;
    spare->unit = unit;
    spare->bytes += length;
    spare->low = spare->bytes / 2;
    return 0;
}

bool spare_space_find(const struct spare_space *spare, struct claim *claim)
{
    if (spare->held || spare->run_count == 0)
        return false;
    const struct spare_run *run = &spare->runs[0];
    if (claim->length > run->length)
        claim->length = run->length;
    claim->fd_offset = run->fd_offset;
    return true;
}

bool spare_space_claim(struct spare_space *spare, const struct claim *claim)
{
    bool was_low = spare->bytes <= spare->low;
    struct spare_run *run = &spare->runs[0];
    run->fd_offset += claim->length;
    run->length -= claim->length;
    if (run->length == 0)
        memmove(run, run + 1, --spare->run_count * sizeof(*run));
    spare->bytes -= claim->length;

    struct claim *last = spare->claim_count > 0 ? &spare->claims[spare->claim_count - 1] : NULL;
    if (last && last->offset + last->length == claim->offset &&
        last->fd_offset + last->length == claim->fd_offset)
        last->length += claim->length;
    else
        spare->claims[spare->claim_count++] = *claim;
    return !was_low && spare->bytes <= spare->low;
}

size_t spare_space_take_claims(struct spare_space *spare, struct claim *claims, size_t max)
{
    size_t count = spare->claim_count < max ? spare->claim_count : max;
    if (count == 0)
        return 0;
    memcpy(claims, spare->claims, count * sizeof(*claims));
    spare->claim_count -= count;
    memmove(spare->claims, spare->claims + count, spare->claim_count * sizeof(*claims));
    return count;
}
