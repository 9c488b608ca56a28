/* Frames of size= bytes, count= in all, sent or received. What is received comes from the host's
 * test/bench/net-sender.c, without end; the first frames do not count. */
#include "cmdline.h"
#include "heap.h"
#include "string.h"
#include "test.h"
#include "timing.h"
#include "virtio_net.h"

#define ETHERNET_BYTES 14
#define IPV4_BYTES 20
#define TCP_BYTES 20
#define HEADERS_BYTES (ETHERNET_BYTES + IPV4_BYTES + TCP_BYTES)
/* What a segment carries on a link of 1,500 bytes. */
#define SEGMENT_BYTES 1460
/* Longer ones are segmented by the host. */
#define FRAME_BYTES_MAX 1514
#define WARM_UP_FRAMES 1000

/* To a station that does not exist, so that the host drops it early; a type for experiments. */
static void frame_fill(struct net_header *header, uint32_t length)
{
    static const uint8_t ADDRESSES[] = {2, 0, 0, 0, 0, 0x99, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    uint8_t *frame = (uint8_t *)(header + 1);
    memset(header, 0, sizeof *header + length);
    memcpy(frame, ADDRESSES, sizeof ADDRESSES);
    if (length <= FRAME_BYTES_MAX)
        return;
    uint8_t *ip = frame + ETHERNET_BYTES, *tcp = ip + IPV4_BYTES;
    uint32_t ip_length = length - ETHERNET_BYTES;
    frame[12] = 8; /* IPv4 */
    frame[13] = 0;
    ip[0] = 0x45;
    ip[2] = (uint8_t)(ip_length >> 8);
    ip[3] = (uint8_t)ip_length;
    ip[8] = 64;
    ip[9] = 6;      /* TCP */
    tcp[12] = 0x50; /* five words of header */
    tcp[13] = 0x10; /* ACK */
    *header = (struct net_header){.flags = NET_NEEDS_CSUM,
                                  .gso_type = NET_GSO_TCPV4,
                                  .hdr_len = HEADERS_BYTES,
                                  .gso_size = SEGMENT_BYTES,
                                  .csum_start = ETHERNET_BYTES + IPV4_BYTES,
                                  .csum_offset = 16};
}

static enum verdict bench_result(uint32_t size, uint64_t count, uint64_t cycles)
{
    return test_passed("size=%u frames=%lu bytes=%lu cycles=%lu", size, count, count * size,
                       cycles);
}

static enum verdict net_tx(void)
{
    struct net net;
    struct completion completion;
    uint32_t size = (uint32_t)cmdline_number("size", 64);
    uint64_t count = cmdline_number("count", 100000), added = 0, done = 0;
    REQUIRE(size >= ETHERNET_BYTES && size <= NET_FRAME_MAX, "size= is not in 14..65550");
    REQUIRE(net_open(&net), "no network device, or it does not start");
    uint32_t stride = (uint32_t)(sizeof(struct net_header) + size + 63) & ~63u;
    uint8_t *frames = heap_take((size_t)stride * VIRTQUEUE_SIZE_MAX, 4096);
    struct net_header *free_frames[VIRTQUEUE_SIZE_MAX], *frame_of_head[VIRTQUEUE_SIZE_MAX];
    unsigned free_count = 0;
    for (; free_count < net.transmit.size; free_count++) {
        free_frames[free_count] = (struct net_header *)(frames + (size_t)free_count * stride);
        frame_fill(free_frames[free_count], size);
    }
    uint64_t start = rdtsc(), progress = start;
    while (done < count) {
        bool kick = false;
        for (; free_count > 0 && added < count; added++, kick = true) {
            struct net_header *frame = free_frames[--free_count];
            frame_of_head[net_send(&net, frame, size)] = frame;
        }
        if (kick)
            virtqueue_kick(&net.transmit);
        while (virtqueue_reap(&net.transmit, &completion)) {
            free_frames[free_count++] = frame_of_head[completion.head];
            done++;
            progress = rdtsc();
        }
        REQUIRE(!timed_out(progress), "timed out after %lu frames", done);
        cpu_relax();
    }
    return bench_result(size, count, rdtsc() - start);
}

static enum verdict net_rx(void)
{
    struct net net;
    struct completion completion;
    uint32_t size = (uint32_t)cmdline_number("size", 64);
    uint64_t count = cmdline_number("count", 100000), received = 0, start = 0;
    uint32_t length = size > FRAME_BYTES_MAX ? sizeof(struct net_header) + NET_FRAME_MAX : 2048;
    REQUIRE(net_open(&net), "no network device, or it does not start");
    uint8_t *buffers = heap_take((size_t)length * net.receive.size, 4096);
    uint8_t *buffer_of_head[VIRTQUEUE_SIZE_MAX];
    memset(buffers, 0, (size_t)length * net.receive.size);
    for (unsigned i = 0; i < net.receive.size; i++) {
        uint8_t *buffer = buffers + (size_t)i * length;
        buffer_of_head[net_offer(&net, buffer, length)] = buffer;
    }
    virtqueue_kick(&net.receive);
    uint64_t progress = rdtsc();
    while (received < count + WARM_UP_FRAMES) {
        bool kick = false;
        while (virtqueue_reap(&net.receive, &completion)) {
            uint8_t *buffer = buffer_of_head[completion.head];
            /* The host may send frames of its own as well. */
            if (completion.length == sizeof(struct net_header) + size &&
                ++received == WARM_UP_FRAMES)
                start = rdtsc();
            buffer_of_head[net_offer(&net, buffer, length)] = buffer;
            kick = true;
            progress = rdtsc();
        }
        if (kick)
            virtqueue_kick(&net.receive);
        REQUIRE(!timed_out(progress), "timed out after %lu frames", received);
        cpu_relax();
    }
    return bench_result(size, count, rdtsc() - start);
}

static const struct test benches[] = {
    {"net-tx", net_tx},
    {"net-rx", net_rx},
};

const struct test_suite bench_suite_net = TEST_SUITE(benches);
