#include "io_engine.h"

#include <errno.h>

static bool op_finish(struct io_op *op, int result)
{
    op->result = result;
    return true;
}

bool io_op_advance(struct io_op *op, int result)
{
    if (result == -EINTR || result == -EAGAIN)
        return false;
    if (result < 0 || op->kind == IO_DATASYNC || op->kind == IO_FALLOCATE)
        return op_finish(op, result);
    if (result == 0)
        return op_finish(op, -EIO); /* end of the file, or a device that accepts no more data */
    op->offset += (uint64_t)result;
    op->length -= (uint64_t)result;
    if (op->length == 0)
        return op_finish(op, 0);
    iov_span_advance(&op->buffers, (uint64_t)result);
    return false;
}
