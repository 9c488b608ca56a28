#include "dhcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define CLIENT_PORT 68
#define SERVER_PORT 67
#define ATTEMPTS 6
// Of the first attempt, in `ms`; it doubles.
#define PATIENCE_MS 250
#define PROTOCOL_UDP 17
#define COOKIE 0x63825363

enum message { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum option {
    OPTION_PAD = 0,
    OPTION_MASK = 1,
    OPTION_ROUTER = 3,
    OPTION_MTU = 26,
    OPTION_ADDRESS = 50,
    OPTION_MESSAGE = 53,
    OPTION_SERVER = 54,
    OPTION_PARAMETERS = 55,
    OPTION_END = 255,
};

struct packet {
    // IPv4
    uint8_t version;
    uint8_t service;
    uint16_t length;
    uint16_t id;
    uint16_t fragment;
    uint8_t time_to_live;
    uint8_t protocol;
    uint16_t checksum;
    uint32_t source;
    uint32_t destination;
    // UDP
    uint16_t source_port;
    uint16_t destination_port;
    uint16_t udp_length;
    uint16_t udp_checksum;
    // BOOTP
    uint8_t operation;
    uint8_t hardware;
    uint8_t hardware_length;
    uint8_t hops;
    uint32_t transaction;
    uint16_t seconds;
    uint16_t flags;
    uint32_t client;
    uint32_t yours;
    uint32_t next_server;
    uint32_t relay;
    uint8_t mac[16];
    uint8_t names[192];
    uint32_t cookie;
    uint8_t options[312];
} __attribute__((packed));

#define IP_BYTES 20
#define UDP_BYTES 8
#define OPTIONS_OFFSET offsetof(struct packet, options)

static uint16_t ip_checksum(const void *data, size_t length)
{
    const uint8_t *bytes = data;
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

static uint8_t *put_option(uint8_t *place, uint8_t option, const void *value, uint8_t length)
{
    place[0] = option;
    place[1] = length;
    memcpy(place + 2, value, length);
    return place + 2 + length;
}

static void compose(struct packet *packet, uint8_t message, uint32_t transaction,
                    const uint8_t mac[6], const struct lease *lease, uint32_t server)
{
    static const uint8_t parameters[] = {OPTION_MASK, OPTION_ROUTER, OPTION_MTU};
    *packet = (struct packet){
        .version = 0x45,
        .time_to_live = 64,
        .protocol = PROTOCOL_UDP,
        .destination = INADDR_BROADCAST,
        .source_port = htons(CLIENT_PORT),
        .destination_port = htons(SERVER_PORT),
        .operation = 1,
        .hardware = 1,
        .hardware_length = 6,
        .transaction = transaction,
        .flags = htons(0x8000), // answer by broadcast: there is no address yet
        .cookie = htonl(COOKIE),
    };
    memcpy(packet->mac, mac, 6);
    uint8_t *place = put_option(packet->options, OPTION_MESSAGE, &message, 1);
    if (message == REQUEST) {
        place = put_option(place, OPTION_ADDRESS, lease->address.bytes, 4);
        place = put_option(place, OPTION_SERVER, &server, 4);
    }
    place = put_option(place, OPTION_PARAMETERS, parameters, sizeof parameters);
    *place = OPTION_END;
    packet->length = htons(sizeof *packet);
    packet->udp_length = htons(sizeof *packet - IP_BYTES);
    packet->checksum = ip_checksum(packet, IP_BYTES);
}

static uint8_t prefix_of(const uint8_t mask[4])
{
    uint32_t bits;
    memcpy(&bits, mask, sizeof bits);
    return (uint8_t)__builtin_popcount(bits);
}

static void take_option(uint8_t option, const uint8_t *value, uint8_t length, struct lease *lease,
                        uint32_t *server, int *message)
{
    if (option == OPTION_MASK && length == 4)
        lease->prefix = prefix_of(value);
    if (option == OPTION_ROUTER && length >= 4) {
        memcpy(lease->gateway.bytes, value, 4);
        lease->gateway.length = 4;
    }
    if (option == OPTION_MTU && length == 2)
        lease->mtu = (uint16_t)(value[0] << 8 | value[1]);
    if (option == OPTION_SERVER && length == 4)
        memcpy(server, value, 4);
    if (option == OPTION_MESSAGE && length == 1)
        *message = value[0];
}

int dhcp_parse(const uint8_t *data, size_t length, uint32_t transaction, const uint8_t mac[6],
               struct lease *lease, uint32_t *server)
{
    struct packet packet = {0};
    int message = -EBADMSG;
    if (length < OPTIONS_OFFSET || data[0] != 0x45)
        return -EBADMSG;
    memcpy(&packet, data, OPTIONS_OFFSET);
    if (packet.protocol != PROTOCOL_UDP || packet.destination_port != htons(CLIENT_PORT) ||
        packet.operation != 2 || packet.transaction != transaction ||
        packet.cookie != htonl(COOKIE) || memcmp(packet.mac, mac, 6) != 0)
        return -EBADMSG;
    *lease = (struct lease){.prefix = 24, .address = {.length = 4}};
    memcpy(lease->address.bytes, &packet.yours, 4);
    for (size_t i = OPTIONS_OFFSET; i < length && data[i] != OPTION_END;) {
        if (data[i] == OPTION_PAD) {
            i++;
            continue;
        }
        if (i + 2 > length || i + 2 + data[i + 1] > length)
            return -EBADMSG;
        take_option(data[i], data + i + 2, data[i + 1], lease, server, &message);
        i += 2u + data[i + 1];
    }
    return message;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits for a message of this kind. 0, -ETIMEDOUT, or -ECONNREFUSED if the server says no.
static int await_answer(int fd, int wanted, int patience_ms, uint32_t transaction,
                        const uint8_t mac[6], struct lease *lease, uint32_t *server)
{
    int64_t deadline = now_ms() + patience_ms;
    for (;;) {
        uint8_t data[2048];
        struct lease offered;
        int64_t left = deadline - now_ms();
        if (left <= 0 || poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)left) <= 0)
            return -ETIMEDOUT;
        ssize_t length = recv(fd, data, sizeof data, MSG_DONTWAIT);
        if (length < 0)
            continue;
        int message = dhcp_parse(data, (size_t)length, transaction, mac, &offered, server);
        if (message == NAK)
            return -ECONNREFUSED;
        if (message == wanted) {
            *lease = offered;
            return 0;
        }
    }
}

static int exchange(int fd, const struct sockaddr_ll *everybody, uint8_t message, int wanted,
                    uint32_t transaction, const uint8_t mac[6], struct lease *lease,
                    uint32_t *server)
{
    struct packet packet;
    int result = -ETIMEDOUT;
    compose(&packet, message, transaction, mac, lease, *server);
    for (int attempt = 0; attempt < ATTEMPTS && result == -ETIMEDOUT; attempt++) {
        if (sendto(fd, &packet, sizeof packet, 0, (const struct sockaddr *)everybody,
                   sizeof *everybody) < 0)
            return -errno;
        result = await_answer(fd, wanted, PATIENCE_MS << attempt, transaction, mac, lease, server);
    }
    return result;
}

int dhcp_ask(unsigned interface, const uint8_t mac[6], struct lease *lease)
{
    struct sockaddr_ll everybody = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_IP),
        .sll_ifindex = (int)interface,
        .sll_halen = 6,
        .sll_addr = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    };
    uint32_t transaction = 0, server = 0;
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
    if (fd < 0)
        return -errno;
    getrandom(&transaction, sizeof transaction, GRND_NONBLOCK);
    int result = bind(fd, (struct sockaddr *)&everybody, sizeof everybody) < 0 ? -errno : 0;
    if (result == 0)
        result = exchange(fd, &everybody, DISCOVER, OFFER, transaction, mac, lease, &server);
    if (result == 0)
        result = exchange(fd, &everybody, REQUEST, ACK, transaction, mac, lease, &server);
    close(fd);
    return result;
}
