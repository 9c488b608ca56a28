/* Writes to a disk and reports what has been flushed. The test kills the machine and knows from the
 * seed what the disk has to contain.
 *
 * Step N writes a place, or makes it zero, and follows from seed= and N alone. Steps that overlap
 * are done in their order, others qd= at a time. Every per-flush= steps there is a flush, beside
 * which the steps go on; "flushed N" says that step N, and all before it, had ended when it began.
 */
#include "cmdline.h"
#include "heap.h"
#include "random.h"
#include "serial.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtio_blk.h"

#define DEPTH_MAX 32
#define PLACE_SECTORS_MIN 8
#define PLACE_SECTORS_MAX 128
#define PAGE_SECTORS 8
#define SECTOR_WORDS (SECTOR_SIZE / sizeof(uint32_t))

struct step {
    uint32_t number;
    /* VIRTIO_BLK_T_OUT, _DISCARD or _WRITE_ZEROES. */
    uint32_t type;
    uint32_t sector, sectors;
    /* Of a WRITE_ZEROES. */
    uint32_t flags;
};

/* A request, and what the device reads and writes for it. */
struct slot {
    struct step step;
    bool busy;
    struct blk_frame frame;
    struct virtio_blk_discard_write_zeroes range;
    /* PLACE_SECTORS_MAX sectors. */
    uint32_t *data;
};

struct load {
    struct blk blk;
    uint32_t seed, first, count, depth, steps_per_flush;
    /* Size of the part of the disk that is written, from its start. */
    uint32_t sectors;
    /* Step N has slot N % depth. */
    struct slot slots[DEPTH_MAX];
    /* Its step is the last one covered by the flush. */
    struct slot flush;
    /* The slot whose request has this head. */
    struct slot *owners[BLK_QUEUES_MAX][VIRTQUEUE_SIZE_MAX];
    /* The number of requests, which are distributed to the queues in turn. */
    unsigned submitted;
    /* Time of the last submission or completion. */
    uint64_t progress;
};

static struct step step_choose(const struct load *load, uint32_t number)
{
    uint32_t random = load->seed;
    random = random_next32(&random) ^ number;
    uint32_t kind = random_next32(&random) % 16;
    uint32_t sectors =
        PLACE_SECTORS_MIN + random_next32(&random) % (PLACE_SECTORS_MAX - PLACE_SECTORS_MIN + 1);
    uint32_t sector = random_next32(&random) % (load->sectors - PLACE_SECTORS_MAX + 1);
    if (random_next32(&random) % 2 == 0) {
        sector -= sector % PAGE_SECTORS;
        sectors -= sectors % PAGE_SECTORS;
    }
    if (kind <= 1)
        /* As large as a device's discard unit may be, since smaller ranges may be ignored. */
        return (struct step){number, VIRTIO_BLK_T_DISCARD, sector - sector % PLACE_SECTORS_MAX,
                             PLACE_SECTORS_MAX, 0};
    if (kind <= 3)
        return (struct step){number, VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors,
                             kind == 2 ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0};
    return (struct step){number, VIRTIO_BLK_T_OUT, sector, sectors, 0};
}

/* Every word of a sector identifies the step and the sector, so that mix-ups are detected. */
static void data_stamp(uint32_t *data, const struct step *step)
{
    for (uint32_t sector = step->sector; sector < step->sector + step->sectors; sector++) {
        uint32_t base = step->number * 0x9e3779b1 + sector * 0x85ebca77;
        *data++ = step->number;
        *data++ = sector;
        for (uint32_t i = 2; i < SECTOR_WORDS; i++)
            *data++ = base + i;
    }
}

static enum verdict request_submit(struct load *load, struct slot *slot, uint32_t type,
                                   const struct segment *data)
{
    unsigned index = load->submitted++ % load->blk.queue_count;
    struct virtqueue *queue = &load->blk.queues[index];
    uint64_t sector = type == VIRTIO_BLK_T_OUT ? slot->step.sector : 0;
    int head = blk_add(&load->blk, queue, &slot->frame, type, sector, data, data ? 1 : 0);
    REQUIRE(head >= 0, "no room in queue %u", index);
    load->owners[index][head] = slot;
    slot->busy = true;
    load->progress = rdtsc();
    virtqueue_kick(queue);
    return VERDICT_PASSED;
}

static enum verdict step_submit(struct load *load, struct slot *slot, const struct step *step)
{
    slot->step = *step;
    uint32_t type = step->type;
    bool discards = type == VIRTIO_BLK_T_DISCARD, zeroes = type == VIRTIO_BLK_T_WRITE_ZEROES;
    if ((discards && blk_has(&load->blk, VIRTIO_BLK_F_DISCARD)) ||
        (zeroes && blk_has(&load->blk, VIRTIO_BLK_F_WRITE_ZEROES))) {
        slot->range =
            (struct virtio_blk_discard_write_zeroes){step->sector, step->sectors, step->flags};
        struct segment range = {&slot->range, sizeof(slot->range), 0};
        return request_submit(load, slot, type, &range);
    }
    struct segment data = {slot->data, step->sectors * SECTOR_SIZE, 0};
    if (discards || zeroes)
        memset(slot->data, 0, data.length);
    else
        data_stamp(slot->data, step);
    return request_submit(load, slot, VIRTIO_BLK_T_OUT, &data);
}

static enum verdict completions_take(struct load *load)
{
    for (unsigned i = 0; i < load->blk.queue_count; i++) {
        struct completion completion;
        while (virtqueue_reap(&load->blk.queues[i], &completion)) {
            struct slot *slot = load->owners[i][completion.head];
            REQUIRE(slot->frame.status == VIRTIO_BLK_S_OK, "type %u of step %u: status %x",
                    slot->frame.header.type, slot->step.number, slot->frame.status);
            slot->busy = false;
            load->progress = rdtsc();
            if (slot == &load->flush)
                print("flushed %u\n", slot->step.number);
        }
    }
    REQUIRE(!timed_out(load->progress), "timed out");
    cpu_relax();
    return VERDICT_PASSED;
}

static bool overlaps_busy(const struct load *load, const struct step *step)
{
    for (unsigned i = 0; i < load->depth; i++) {
        const struct step *other = &load->slots[i].step;
        if (load->slots[i].busy && other->sector < step->sector + step->sectors &&
            step->sector < other->sector + other->sectors)
            return true;
    }
    return false;
}

/* The last step up to which all steps are complete. */
static uint32_t last_ended(const struct load *load, uint32_t submitted)
{
    uint32_t last = submitted;
    for (unsigned i = 0; i < load->depth; i++)
        if (load->slots[i].busy && load->slots[i].step.number <= last)
            last = load->slots[i].step.number - 1;
    return last;
}

/* One at a time, so that the lines are in order. */
static enum verdict flush_submit(struct load *load, uint32_t submitted)
{
    while (load->flush.busy)
        REQUIRE_PASSED(completions_take(load));
    load->flush.step.number = last_ended(load, submitted);
    return request_submit(load, &load->flush, VIRTIO_BLK_T_FLUSH, NULL);
}

static enum verdict load_run(struct load *load)
{
    uint32_t last = load->first + load->count - 1;
    for (uint32_t number = load->first; number <= last; number++) {
        struct slot *slot = &load->slots[number % load->depth];
        struct step step = step_choose(load, number);
        while (slot->busy || overlaps_busy(load, &step))
            REQUIRE_PASSED(completions_take(load));
        REQUIRE_PASSED(step_submit(load, slot, &step));
        if (number % load->steps_per_flush == 0)
            REQUIRE_PASSED(flush_submit(load, number));
    }
    while (last_ended(load, last) != last)
        REQUIRE_PASSED(completions_take(load));
    REQUIRE_PASSED(flush_submit(load, last));
    while (load->flush.busy)
        REQUIRE_PASSED(completions_take(load));
    return test_passed("steps=%u", load->count);
}

static enum verdict flush_load(void)
{
    static struct load load;
    load = (struct load){
        .seed = (uint32_t)cmdline_number("seed", 1),
        .first = (uint32_t)cmdline_number("first", 1),
        .count = (uint32_t)cmdline_number("count", 1000),
        .depth = (uint32_t)cmdline_number("qd", 8),
        .steps_per_flush = (uint32_t)cmdline_number("per-flush", 16),
    };
    REQUIRE(blk_open(&load.blk), "no disk, or it does not start");
    if (!blk_has(&load.blk, VIRTIO_BLK_F_FLUSH) || blk_has(&load.blk, VIRTIO_BLK_F_RO))
        return test_skipped("the disk is read-only, or FLUSH is not negotiated");
    uint64_t sectors =
        cmdline_number("size", load.blk.capacity_sectors * SECTOR_SIZE) / SECTOR_SIZE;
    sectors -= sectors % PLACE_SECTORS_MAX;
    REQUIRE(sectors != 0 && sectors <= load.blk.capacity_sectors && sectors <= UINT32_MAX,
            "size= is not of 64 KiB up to the disk's");
    REQUIRE(load.depth >= 1 && load.depth <= DEPTH_MAX, "qd= is not in 1..%u", DEPTH_MAX);
    REQUIRE(load.first >= 1 && load.steps_per_flush >= 1, "first= and per-flush= begin with 1");
    load.sectors = (uint32_t)sectors;
    for (unsigned i = 0; i < load.depth; i++)
        load.slots[i].data = heap_take(PLACE_SECTORS_MAX * SECTOR_SIZE, 4096);
    return load_run(&load);
}

static const struct test tests[] = {
    {"flush-load", flush_load},
};

const struct test_suite test_suite_flush_load = TEST_SUITE(tests);
