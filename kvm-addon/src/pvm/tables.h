/*
 * What KVM must learn of the guest's page tables before CPL 3 runs natively again. KVM shadows
 * the tables that CPL 3 has run on, and sees only writes that it executes itself; a write by the
 * interpreter would leave a stale shadow. So the tables reachable from each root are tracked, and
 * an entry that lost a right or moved is *zapped*: KVM's emulator executes a store to it, which
 * makes KVM drop the shadow (an aligned 8-byte store drops the entry's, a 2-byte store the
 * table's).
 *
 * Native runs do not use the guest's root but one of ours: its lower half is copied from the
 * guest's, its upper half holds the private region alone (private_region.h). So the guest's kernel
 * is not even mapped while its programs run, and nothing is put into the guest's own tables.
 */
#ifndef TSVM_PVM_TABLES_H
#define TSVM_PVM_TABLES_H

#include "cpu.h"

/* A write by anything but CPL 3 to a tracked table; `old` and `new` are its 8-byte entry at `gpa`.
 */
void tables_entry_written(struct cpu *cpu, uint64_t gpa, uint64_t old, uint64_t new);
/* A write to a tracked frame by something that cannot tell the old content (DMA): from any thread.
 */
void tables_frame_written(struct engine *engine, uint64_t frame);

/*
 * Around a native run of the address space in cpu->sregs.cr3: tables_enter_native() tracks the
 * root, and returns the guest-physical address of our copy for KVM's CR3.
 */
uint64_t tables_enter_native(struct cpu *cpu);
void tables_exit_native(struct cpu *cpu);

/* Zaps that wait: guest-physical address of the entry, 8-byte aligned; ZAP_TABLE: of the whole
 * table. */
#define ZAP_TABLE 1u
/* Takes up to `max`; 0 when none are left. The caller executes them before any native run. */
unsigned tables_take_zaps(struct engine *engine, uint64_t *zaps, unsigned max);

#endif
