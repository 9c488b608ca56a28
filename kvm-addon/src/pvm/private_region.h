/*
 * Guest memory for the engine's own use, in a hole that the machine's layout keeps free: the code,
 * descriptor tables and stacks with which runs in KVM begin and end, and the page tables that map
 * them.
 *
 * Native runs also use the engine's root tables (tables.h), one page each from the pool here. Their
 * upper half has one entry, private_region_root_entry(), which maps the region at the end of the
 * address space.
 *
 * The guest's kernel could map and change these frames, and thereby affect its own programs. The
 * VMM trusts nothing in them: their contents only become the guest's registers.
 */
#ifndef TSVM_PVM_PRIVATE_REGION_H
#define TSVM_PVM_PRIVATE_REGION_H

#include <stdint.h>

#include "cpu.h"

/* Size in bytes and alignment of the region in guest-physical address space. */
#define PRIVATE_REGION_SPAN 0x200000u

/* Root tables in the pool. */
#define PRIVATE_ROOTS 128

/* Memory slots that the region takes. */
#define PRIVATE_REGION_SLOTS 3

struct private_region {
    uint64_t gpa;
    uint8_t *memory; /* PRIVATE_REGION_SPAN bytes, allocated on demand */
    unsigned slot;
};

/* Creates the region. Returns 0, -EINVAL (`gpa` is not a multiple of the span) or -ENOMEM. */
int private_region_init(struct private_region *region, uint64_t gpa);
/* Writes the TSS of a vCPU, 0 to 31, once. */
void private_region_add_cpu(struct private_region *region, unsigned cpu);
/* Gives it to KVM in memory slots `slot` and the next two. Returns 0 or -errno. */
int private_region_attach(struct private_region *region, int vm_fd, unsigned slot);
/* Call after closing the VM. */
void private_region_destroy(struct private_region *region);

/*
 * The host's and the guest-physical address of root table `index` of the pool; 512 entries, 0 at
 * first, so that a table that is never used takes no memory.
 */
uint64_t *private_region_root(const struct private_region *region, unsigned index);
uint64_t private_region_root_gpa(const struct private_region *region, unsigned index);
/* The value of entry 511 of every root table in use; entries 256 to 510 stay 0. */
uint64_t private_region_root_entry(const struct private_region *region);

/*
 * The rest is for runs in KVM. Virtual addresses: of the SYSCALL shim, which KVM's
 * LSTAR points at, of its instruction after the store to the doorbell, and of the IDT and GDT.
 */
#define PRIVATE_VA 0xffffffffffe00000ull
#define PRIVATE_SHIM_VA PRIVATE_VA
#define PRIVATE_IDT_VA (PRIVATE_VA + 0x2000)
#define PRIVATE_IDT_LIMIT 4095u
#define PRIVATE_GDT_VA (PRIVATE_VA + 0x6000)
#define PRIVATE_GDT_LIMIT 63u
#define PRIVATE_CODE_SELECTOR 0x10u
#define PRIVATE_DATA_SELECTOR 0x18u
#define PRIVATE_TSS_SELECTOR 0x20u
#define PRIVATE_TSS_LIMIT 0x67u
uint64_t private_region_shim_end(void);
/* Where the shim's store goes: a page without memory. */
uint64_t private_region_doorbell_gpa(const struct private_region *region);

/*
 * Each gate of the IDT leads to a stub of one OUT to this port. private_region_stub_at(): whose
 * stub begins at `rip`, or -1. KVM reports the OUT with RIP PRIVATE_STUB_LENGTH after it.
 */
#define PRIVATE_STUB_PORT 0xe0u
#define PRIVATE_STUB_LENGTH 2u
int private_region_stub_at(uint64_t rip);

/* Routines at CPL 0 (firmware/engine-routines.S). Each ends with an OUT to PRIVATE_DONE_PORT. */
#define PRIVATE_DONE_PORT 0xe2u
enum private_routine {
    PRIVATE_TAKE, /* nothing: takes an interrupt that is pending */
    PRIVATE_HALT, /* HLT */
    /* IN and OUT: port in DX, data in AL, AX or EAX */
    PRIVATE_IN8,
    PRIVATE_IN16,
    PRIVATE_IN32,
    PRIVATE_OUT8,
    PRIVATE_OUT16,
    PRIVATE_OUT32,
    /* a load and a store of 4 bytes: address in RDI, data in EAX */
    PRIVATE_LOAD,
    PRIVATE_STORE,
    PRIVATE_ZAP, /* what private_region_set_zaps() wrote */
};
uint64_t private_region_routine(enum private_routine routine);
/* The root table that routines run on. */
uint64_t private_region_root_of_routines(const struct private_region *region);

/* Each vCPU has a TSS, and a stack that routines and exceptions at CPL 3 begin on. */
uint64_t private_region_tss(unsigned cpu);
uint64_t private_region_stack(unsigned cpu);
/* The stack's `count` quadwords from virtual address `rsp`. False when they are not all in it. */
bool private_region_read_stack(const struct private_region *region, unsigned cpu, uint64_t rsp,
                               uint64_t *words, unsigned count);

/*
 * Maps the page of `gpa` for the routines of a vCPU, and returns the virtual address of `gpa`.
 */
uint64_t private_region_map_device(struct private_region *region, unsigned cpu, uint64_t gpa);

/*
 * A zap: guest-physical address of an entry, 8-byte aligned; ZAP_TABLE: of its whole table;
 * ZAP_ALL, alone: all shadows of the VM are to be dropped.
 */
#define ZAP_TABLE 1u
#define ZAP_ALL 2u

/*
 * Writes the routine that zaps (tables.h): for each, a store of what is there already, 8 or 2 bytes
 * wide, through a window of page mappings. One user at a time.
 */
#define PRIVATE_ZAPS_MAX 256
void private_region_set_zaps(struct private_region *region, const uint64_t *zaps, unsigned count);
/*
 * Makes KVM drop all shadow page tables of the VM, which it does when a memory slot goes: some
 * milliseconds.
 */
void private_region_zap_all(const struct private_region *region, int vm_fd);

#endif
