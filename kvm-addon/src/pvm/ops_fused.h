/*
 * Parts of decode_fuse() (decode.h): each gives `first` a handler that does the work of what
 * follows it too, or returns false.
 */
#ifndef TSVM_PVM_OPS_FUSED_H
#define TSVM_PVM_OPS_FUSED_H

#include <stdbool.h>

#include "insn.h"

/* ops_runs.c: several of one kind */
bool fuse_run(struct insn *first, const struct insn *second);
/* ops_pairs.c: two of the most frequent */
bool fuse_pair(struct insn *first, const struct insn *second);

#endif
