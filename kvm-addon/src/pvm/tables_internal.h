/* Declarations shared by the files of the page-table tracking; all of it under tables.lock. */
#ifndef TSVM_PVM_TABLES_INTERNAL_H
#define TSVM_PVM_TABLES_INTERNAL_H

#include <pthread.h>

#include "engine.h"
#include "page_entry.h"
#include "private_region.h"

/*
 * Bounds for a VM: page tables that are tracked (a quarter of its frames, at most as below; beyond
 * that tracking starts again), and pending zaps (beyond that all shadows are dropped instead).
 */
#define TABLES_MIN 4096u
#define TABLES_MAX (1u << 20)
#define ZAPS_MAX 1024u

#define NO_NODE 0u
#define NO_FRAME UINT32_MAX
#define OWNER_SEVERAL UINT16_MAX
#define ROOT_LEVEL TABLE_LEVELS
#define LOWER_HALF (TABLE_ENTRIES / 2)

/*
 * A frame in use as a page table of one level. Tables that loop or alias have a node for each
 * level at which they are reached; levels fall from the root down, so the graph has no circle and
 * counted references free it. A count cannot overflow: there are at most TABLES_MAX * 512 entries.
 */
struct table_node {
    uint64_t clean; /* native_count when KVM had no shadow of it */
    uint32_t frame; /* NO_FRAME: free */
    uint32_t
        references; /* entries of scanned tables of the level above; 1 for a root in the pool */
    uint32_t next;  /* in its hash chain, or in the free list */
    uint32_t next_work;
    uint32_t serial; /* tells uses of this node apart */
    uint16_t owner;  /* the root slot that it belongs to; OWNER_SEVERAL */
    uint8_t level;
    uint8_t zaps; /* of its entries, waiting; ZAPS_WHOLE */
    bool scanned; /* its entries are counted in their tables' references */
    bool queued;  /* in the list of work */
    bool guarded; /* no vCPU has TLB write entries of it */
    bool spread;  /* became OWNER_SEVERAL: so do the tables below */
};

/* Number of zapped entries from which zapping the whole table is cheaper, and the mark for that. */
#define ZAPS_TABLE 8u
#define ZAPS_WHOLE 255u

/* A root in the pool. */
struct root_slot {
    uint32_t frame;       /* NO_FRAME: free */
    uint32_t running;     /* vCPUs at CPL 3 on it */
    uint64_t last_native; /* native_count; 0: not yet */
    uint16_t present;     /* entries of the lower half */
    bool dropped;         /* everything was dropped while it ran: free when that ends */
};

/* References of a vCPU that is about to link a table. */
struct table_pins {
    uint32_t frame;
    uint8_t levels; /* bit n: at level n */
};

/* Tables scanned or freed after one write, and between two checks of cpu->attention. */
#define WORK_AFTER_WRITE 16u
#define WORK_BETWEEN_LOOKS 64u

struct tables {
    pthread_mutex_t lock;
    struct engine *engine;

    struct table_node *nodes; /* [0] is not used */
    uint32_t node_limit;
    uint32_t node_count; /* ever used */
    uint32_t free_nodes;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint32_t work; /* nodes to be scanned or freed */
    uint32_t serial;
    bool full; /* a table could not be tracked: start again */

    struct root_slot roots[PRIVATE_ROOTS];
    int current[ENGINE_CPUS_MAX]; /* the slot that a vCPU last ran on; -1 */
    struct table_pins pins[ENGINE_CPUS_MAX];
    unsigned running[ENGINE_CPUS_MAX]; /* that it runs on, of those in native_cpus */
    uint64_t native_count;
    uint32_t native_cpus; /* vCPUs at CPL 3 right now */
    uint32_t unsure;      /* those of them that make shadows of what nobody tracks */

    uint64_t zaps[ZAPS_MAX];
    unsigned zap_count;
    unsigned whole_zaps; /* of them: of whole tables */
    bool zap_all;
    bool executing_whole; /* such zaps were taken, and are not done */
    uint32_t zaps_wait;   /* atomic, shared: zaps wait or are being executed */
    pthread_mutex_t executing;
};

/* table_nodes.c */
int nodes_init(struct tables *tables);
void nodes_destroy(struct tables *tables);
struct table_node *node_first(struct tables *tables, uint32_t frame);
struct table_node *node_next(struct tables *tables, const struct table_node *node);
struct table_node *node_find(struct tables *tables, uint32_t frame, unsigned level);
/* Counts an entry that links the table, or one that no longer does. NULL: tables->full. */
struct table_node *node_reference(struct tables *tables, uint32_t frame, unsigned level,
                                  uint16_t owner);
void node_unreference(struct tables *tables, uint32_t frame, unsigned level);
/* The next node to be scanned or freed, or NULL; to queue it again, and to free it. */
struct table_node *node_take_work(struct tables *tables);
void node_queue(struct tables *tables, struct table_node *node);
void node_free(struct tables *tables, struct table_node *node);
bool node_may_be_shadowed(const struct tables *tables, const struct table_node *node);
/* The frame that an entry of this level leads to as a table, or NO_FRAME. */
uint32_t entry_table(const struct tables *tables, uint64_t entry, unsigned level);
/* Frees all of them at once. */
void nodes_reset(struct tables *tables);

/*
 * table_work.c. Scans or frees one queued node; false: none is left. Before a table is scanned the
 * other vCPUs must have dropped their write entries. With `may_wait` the lock is released for that;
 * without, it returns false and the node stays queued.
 */
bool node_work(struct tables *tables, struct cpu *cpu, bool may_wait);

/* table_roots.c */
void roots_init(struct tables *tables);
/* The slot of a root, or -1: none is free before more work is done. */
int root_pin(struct tables *tables, uint32_t frame);
void root_unpin(struct tables *tables, unsigned slot);
/* Drops the references of its entries. */
void root_release(struct tables *tables, unsigned slot);
/* Applies the changes of the root since the last time. */
void root_sync(struct tables *tables, unsigned slot);
void root_entry_changed(struct tables *tables, unsigned slot, unsigned index, uint64_t entry);
/* A vCPU runs on it, or last did. */
bool root_is_loaded(const struct tables *tables, unsigned slot);
void roots_reset(struct tables *tables);

/* table_links.c */
void links_unpin(struct tables *tables, unsigned cpu_index);

/* table_zaps.c */
/* Whether a shadow of the old entry grants what the new one does not. */
bool entry_lost_rights(uint64_t old, uint64_t now, unsigned level);
void zap_entry(struct tables *tables, struct table_node *node, uint64_t gpa);
void zap_table(struct tables *tables, struct table_node *node);
void zap_root_entry(struct tables *tables, unsigned slot, unsigned index);
void zap_root(struct tables *tables, unsigned slot);
void zap_everything(struct tables *tables);

/* tables.c. Drops all tracking: address spaces are tracked again at their next native run. */
void tables_reset(struct tables *tables);

#endif
