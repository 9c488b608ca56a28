/*
 * Sends frames to an interface endlessly, as fast as it accepts them: net-sender INTERFACE SIZE.
 * While its queue is full, the sender sleeps, and leaves the core to the receiver: frames that are
 * dropped would cost as much as others. The queue, of 500 frames, does not become empty meanwhile.
 * Frames of more than 1,514 bytes are TCP segments that the receiver should accept whole.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32
#define FRAME_BYTES_MAX 1514u
#define FULL_NS 50000 /* sleep when the queue is full */
#define IPV4_START 14
#define TCP_START 34

struct message {
    struct virtio_net_hdr header;
    unsigned char frame[65550];
} __attribute__((packed));

static struct message message;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int socket_open(const char *interface)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_ifindex = (int)if_nametoindex(interface)};
    /* Without a queueing discipline in between, a send fails if the interface drops the frame. */
    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail(interface);
    return fd;
}

static void message_fill(unsigned size)
{
    unsigned char *ip = message.frame + IPV4_START, *tcp = message.frame + TCP_START;
    memset(message.frame, 2, 12);
    message.frame[12] = 0x88; /* an EtherType for experiments */
    message.frame[13] = 0xb5;
    if (size <= FRAME_BYTES_MAX)
        return;
    message.frame[12] = 8; /* IPv4 */
    message.frame[13] = 0;
    ip[0] = 0x45;
    ip[2] = (unsigned char)((size - IPV4_START) >> 8);
    ip[3] = (unsigned char)(size - IPV4_START);
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    tcp[12] = 0x50;
    tcp[13] = 0x10;
    message.header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                             .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                             .hdr_len = TCP_START + 20,
                                             .gso_size = 1460,
                                             .csum_start = TCP_START,
                                             .csum_offset = 16};
}

int main(int argc, char **argv)
{
    unsigned size = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    struct iovec iov = {.iov_base = &message, .iov_len = sizeof message.header + size};
    struct mmsghdr batch[BATCH];
    if (size < 14 || size > sizeof message.frame) {
        fprintf(stderr, "usage: net-sender INTERFACE SIZE\n");
        return 2;
    }
    const struct timespec full = {.tv_nsec = FULL_NS};
    /* It ends with its parent, whose death signal does not arrive: tsvm becomes another user. */
    pid_t parent = getppid();
    int fd = socket_open(argv[1]);
    message_fill(size);
    for (unsigned i = 0; i < BATCH; i++)
        batch[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    while (getppid() == parent) {
        if (sendmmsg(fd, batch, BATCH, 0) > 0)
            continue;
        if (errno != ENOBUFS && errno != ENETDOWN)
            fail("sendmmsg");
        nanosleep(&full, NULL);
    }
    return 0;
}
