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
 * Call for each pair of neighbours in a decoded run, from its end to its start: `first` may get a
 * handler that also executes the second, and what the handler of the second executes.
 */
void decode_fuse(struct insn *first, const struct insn *second);

/* Handlers that the code cache puts between decoded runs. */
extern insn_handler *const insn_goto; /* continues at insn->target */
extern insn_handler
    *const insn_page_end; /* the run goes on at insn->relative from this page's start */

#endif
