/* The decoder: bytes of the guest become decoded instructions. */
#ifndef TSVM_PVM_DECODE_H
#define TSVM_PVM_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "insn.h"

/*
 * Decodes the instruction at page offset `offset`, of which `available` bytes are given. Returns
 * its length, or 0 if it needs more bytes. `*ends` is set if execution never continues directly
 * after it. An unsupported instruction gets a handler that leaves it to KVM. Never reads past
 * `available`; lengths over 15 decode to #GP(0) (SDM 2A 2.3.11).
 */
unsigned decode(const uint8_t *bytes, unsigned offset, unsigned available, enum decode_mode mode,
                struct insn *insn, bool *ends);

/*
 * For two instructions of which the second was decoded behind the first, and follows it in memory:
 * `first` may get a handler that does the work of both, and of those that the second's does. To be
 * called for the last two of a decoded run first, and for its first two last.
 */
void decode_fuse(struct insn *first, const struct insn *second);

/* Handlers that the code cache puts between decoded runs. */
extern insn_handler *const insn_goto; /* continues at insn->target */
extern insn_handler
    *const insn_page_end; /* the run goes on at insn->relative from this page's start */

#endif
