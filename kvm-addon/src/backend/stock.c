#include "stock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Offsets and lengths of extents are multiples of this. */
#define UNIT_MIN 512u

void stock_destroy(struct stock *stock)
{
    free(stock->runs);
    free(stock->claims);
    *stock = (struct stock){0};
}

static bool run_is_valid(const struct stock *stock, int fd, uint64_t unit, uint64_t fd_offset,
                         uint64_t length)
{
    if (fd < 0 || unit < UNIT_MIN || (unit & (unit - 1)) != 0)
        return false;
    if (stock->unit != 0 && (unit != stock->unit || fd != stock->fd))
        return false;
    if (length == 0 || ((fd_offset | length) & (unit - 1)) != 0)
        return false;
    return length <= INT64_MAX && fd_offset <= INT64_MAX - length;
}

int stock_add(struct stock *stock, int fd, uint64_t unit, uint64_t fd_offset, uint64_t length)
{
    if (!run_is_valid(stock, fd, unit, fd_offset, length))
        return -EINVAL;
    /* Allocated in advance, so that a claim cannot fail for lack of memory. */
    uint64_t claims = stock->claim_count + (stock->bytes + length) / unit;
    if (claims > SIZE_MAX / sizeof *stock->claims)
        return -ENOMEM;
    void *grown = realloc(stock->claims, claims * sizeof *stock->claims);
    if (!grown)
        return -ENOMEM;
    stock->claims = grown;
    grown = realloc(stock->runs, (stock->run_count + 1) * sizeof *stock->runs);
    if (!grown)
        return -ENOMEM;
    stock->runs = grown;
    stock->runs[stock->run_count++] = (struct stock_run){.fd_offset = fd_offset, .length = length};
    stock->fd = fd;
    stock->unit = unit;
    stock->bytes += length;
    stock->low = stock->bytes / 2;
    return 0;
}

bool stock_find(const struct stock *stock, struct claim *claim)
{
    if (stock->claiming_off || stock->run_count == 0)
        return false;
    const struct stock_run *run = &stock->runs[0];
    if (claim->length > run->length)
        claim->length = run->length;
    claim->fd_offset = run->fd_offset;
    return true;
}

bool stock_claim(struct stock *stock, const struct claim *claim)
{
    bool was_low = stock->bytes <= stock->low;
    struct stock_run *run = &stock->runs[0];
    run->fd_offset += claim->length;
    run->length -= claim->length;
    if (run->length == 0)
        memmove(run, run + 1, --stock->run_count * sizeof *run);
    stock->bytes -= claim->length;

    struct claim *last = stock->claim_count > 0 ? &stock->claims[stock->claim_count - 1] : NULL;
    if (last && last->offset + last->length == claim->offset &&
        last->fd_offset + last->length == claim->fd_offset)
        last->length += claim->length;
    else
        stock->claims[stock->claim_count++] = *claim;
    return !was_low && stock->bytes <= stock->low;
}

size_t stock_take_claims(struct stock *stock, struct claim *claims, size_t max)
{
    size_t count = stock->claim_count < max ? stock->claim_count : max;
    if (count == 0)
        return 0;
    memcpy(claims, stock->claims, count * sizeof *claims);
    stock->claim_count -= count;
    memmove(stock->claims, stock->claims + count, stock->claim_count * sizeof *claims);
    return count;
}
