/*
 * Keeps KVM's shadow page tables coherent for native runs of CPL 3. KVM shadows the tables that CPL
 * 3 has run with, but sees only the writes that it executes itself; a write by the interpreter
 * would leave a stale shadow. Therefore the tables reachable from each root are tracked, and an
 * entry that loses a permission or changes its address is *zapped*: KVM's emulator executes a store
 * to it, which makes KVM drop the shadow (an aligned 8-byte store drops that of the entry, a 2-byte
 * store that of the table).
 *
 * Native runs do not use the guest's root table but one of the engine. Its lower half is a copy of
 * the guest's; its upper half maps only the private region (private_region.h). So the guest's
 * kernel is not mapped while its programs run, and the guest's tables are not modified.
 *
 * A program that can write to its own page tables can make the tracked state wrong, and thereby
 * break its own mappings, but no more than that: a shadow can map only guest memory.
 */
#ifndef TSVM_PVM_TABLES_H
#define TSVM_PVM_TABLES_H

#include "cpu.h"
#include "word.h"

/* engine->private_region, memory and frames are there. Returns 0 or -ENOMEM. */
int tables_init(struct engine *engine);
void tables_destroy(struct engine *engine);
/* Bytes of memory for what is tracked. From any thread. */
uint64_t tables_resident(const struct engine *engine);

/*
 * A change of the word at `gpa`, in a frame that was FRAME_TABLE a moment ago, by anything but
 * CPL 3. `word` is its host address.
 */
struct word_result tables_change(struct cpu *cpu, uint64_t gpa, uint64_t *word,
                                 const struct word_change *change);
/*
 * Call before tables_change() while engine->native_running: prepares the table that the change
 * would link. True: zaps are to be executed first (ATTENTION_ZAPS), then the same is to be tried
 * again. May wait for other vCPUs (safepoint.h): with no lock held.
 */
bool tables_prepare(struct cpu *cpu, uint64_t gpa, const uint64_t *word,
                    const struct word_change *change);
/* A write to such a frame by something that cannot tell the old content (DMA): from any thread. */
void tables_frame_written(struct engine *engine, uint64_t frame);

/*
 * Around a native run of the address space in cpu->sregs.cr3. tables_enter_native() tracks the
 * root, and returns the guest-physical address of our copy for KVM's CR3; zaps are to be taken
 * after it. 0, and then no tables_exit_native(): cpu->attention is set and must be handled first;
 * or, if it is not set, nothing can run natively in this address space, because its root is not in
 * RAM or its tables exceed the bound. Inside (safepoint.h). Both keep engine->native_running and
 * native_epoch.
 */
uint64_t tables_enter_native(struct cpu *cpu);
void tables_exit_native(struct cpu *cpu);
/*
 * Around a run of CPL 3 on the guest's own root, which nobody tracks (step.h). Zaps are to be taken
 * after the first. All shadows are dropped before the next native run, of any vCPU.
 */
void tables_enter_untracked(struct cpu *cpu);
void tables_exit_untracked(struct cpu *cpu);

/*
 * Zaps that wait (private_region.h). Takes up to `max`; 0 when none are left. Until
 * tables_zaps_done(), after they were executed, others that ask wait: nobody may run natively
 * before. From the same thread; without waiting for anybody in between.
 */
unsigned tables_take_zaps(struct engine *engine, uint64_t *zaps, unsigned max);
void tables_zaps_done(struct engine *engine);

#endif
