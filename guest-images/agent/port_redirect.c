#include "port_redirect.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#define TABLE "tsvm"
#define BATCH_BYTES 4096
#define NFTABLES_TYPE(message) ((NFNL_SUBSYS_NFTABLES << 8) | (message))

// Where things are in IPv4's header, and in those of UDP and TCP.
#define IP_PROTOCOL_AT 9
#define IP_SOURCE_AT 12
#define IP_DESTINATION_AT 16
#define SOURCE_PORT_AT 0
#define DESTINATION_PORT_AT 2
#define UDP_CHECKSUM_AT 6
#define TCP_CHECKSUM_AT 16

// Next to the resolver: the container's own rules, and connection tracking (-200), see the port
// that programs see.
#define BEFORE_OTHERS (-300)
#define AFTER_OTHERS 300

struct batch {
    uint8_t data[BATCH_BYTES];
    size_t length;
    size_t message; // where the one that is being written begins
    uint32_t sequence;
};

static void *append(struct batch *batch, size_t length)
{
    void *place = batch->data + batch->length;
    memset(place, 0, NLMSG_ALIGN(length));
    batch->length += NLMSG_ALIGN(length);
    return place;
}

static void begin_message(struct batch *batch, uint16_t type, uint16_t flags, uint8_t family)
{
    batch->message = batch->length;
    struct nlmsghdr *header = append(batch, sizeof *header);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = ++batch->sequence;
    struct nfgenmsg *body = append(batch, sizeof *body);
    body->nfgen_family = family;
    body->res_id = family == AF_UNSPEC ? htons(NFNL_SUBSYS_NFTABLES) : 0;
}

static void end_message(struct batch *batch)
{
    struct nlmsghdr *header = (struct nlmsghdr *)(batch->data + batch->message);
    header->nlmsg_len = (uint32_t)(batch->length - batch->message);
}

static void add(struct batch *batch, uint16_t type, const void *value, size_t length)
{
    struct nlattr *attribute = append(batch, NLA_HDRLEN + length);
    attribute->nla_type = type;
    attribute->nla_len = (uint16_t)(NLA_HDRLEN + length);
    memcpy((uint8_t *)attribute + NLA_HDRLEN, value, length);
}

static void add_text(struct batch *batch, uint16_t type, const char *text)
{
    add(batch, type, text, strlen(text) + 1);
}

static void add_number(struct batch *batch, uint16_t type, uint32_t number)
{
    uint32_t value = htonl(number);
    add(batch, type, &value, sizeof value);
}

// Returns what end_nest() wants.
static size_t begin_nest(struct batch *batch, uint16_t type)
{
    size_t at = batch->length;
    struct nlattr *attribute = append(batch, NLA_HDRLEN);
    attribute->nla_type = type | NLA_F_NESTED;
    return at;
}

static void end_nest(struct batch *batch, size_t at)
{
    struct nlattr *attribute = (struct nlattr *)(batch->data + at);
    attribute->nla_len = (uint16_t)(batch->length - at);
}

struct expression {
    size_t element, data;
};

static struct expression begin_expression(struct batch *batch, const char *name)
{
    struct expression expression = {.element = begin_nest(batch, NFTA_LIST_ELEM)};
    add_text(batch, NFTA_EXPR_NAME, name);
    expression.data = begin_nest(batch, NFTA_EXPR_DATA);
    return expression;
}

static void end_expression(struct batch *batch, struct expression expression)
{
    end_nest(batch, expression.data);
    end_nest(batch, expression.element);
}

static void add_value(struct batch *batch, uint16_t type, const void *value, size_t length)
{
    size_t nest = begin_nest(batch, type);
    add(batch, NFTA_DATA_VALUE, value, length);
    end_nest(batch, nest);
}

// Goes on with the rule only if the packet has the value there.
static void require(struct batch *batch, uint32_t base, uint32_t at, const void *value,
                    size_t length)
{
    struct expression load = begin_expression(batch, "payload");
    add_number(batch, NFTA_PAYLOAD_DREG, NFT_REG_1);
    add_number(batch, NFTA_PAYLOAD_BASE, base);
    add_number(batch, NFTA_PAYLOAD_OFFSET, at);
    add_number(batch, NFTA_PAYLOAD_LEN, (uint32_t)length);
    end_expression(batch, load);
    struct expression compare = begin_expression(batch, "cmp");
    add_number(batch, NFTA_CMP_SREG, NFT_REG_1);
    add_number(batch, NFTA_CMP_OP, NFT_CMP_EQ);
    add_value(batch, NFTA_CMP_DATA, value, length);
    end_expression(batch, compare);
}

static void set_port(struct batch *batch, uint32_t at, uint16_t port, uint32_t checksum_at)
{
    struct expression value = begin_expression(batch, "immediate");
    add_number(batch, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    add_value(batch, NFTA_IMMEDIATE_DATA, &port, sizeof port);
    end_expression(batch, value);
    struct expression store = begin_expression(batch, "payload");
    add_number(batch, NFTA_PAYLOAD_SREG, NFT_REG_1);
    add_number(batch, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
    add_number(batch, NFTA_PAYLOAD_OFFSET, at);
    add_number(batch, NFTA_PAYLOAD_LEN, sizeof port);
    add_number(batch, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_INET);
    add_number(batch, NFTA_PAYLOAD_CSUM_OFFSET, checksum_at);
    end_expression(batch, store);
}

// Where packets to the resolver, or from it, are changed.
struct direction {
    const char *chain;
    uint32_t hook;
    int32_t priority;
    uint32_t address_at, port_at;
};

static const struct direction to_resolver = {"to-resolver", NF_INET_LOCAL_IN, AFTER_OTHERS,
                                             IP_DESTINATION_AT, DESTINATION_PORT_AT};
static const struct direction from_resolver = {"from-resolver", NF_INET_LOCAL_OUT, BEFORE_OTHERS,
                                               IP_SOURCE_AT, SOURCE_PORT_AT};

static void add_chain(struct batch *batch, const struct direction *direction)
{
    begin_message(batch, NFTABLES_TYPE(NFT_MSG_NEWCHAIN), NLM_F_CREATE, NFPROTO_IPV4);
    add_text(batch, NFTA_CHAIN_TABLE, TABLE);
    add_text(batch, NFTA_CHAIN_NAME, direction->chain);
    size_t hook = begin_nest(batch, NFTA_CHAIN_HOOK);
    add_number(batch, NFTA_HOOK_HOOKNUM, direction->hook);
    add_number(batch, NFTA_HOOK_PRIORITY, (uint32_t)direction->priority);
    end_nest(batch, hook);
    add_text(batch, NFTA_CHAIN_TYPE, "filter");
    end_message(batch);
}

// Ports are in network byte order.
static void add_rule(struct batch *batch, const struct direction *direction, uint8_t protocol,
                     uint32_t address, uint16_t port, uint16_t new_port)
{
    begin_message(batch, NFTABLES_TYPE(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK,
                  NFPROTO_IPV4);
    add_text(batch, NFTA_RULE_TABLE, TABLE);
    add_text(batch, NFTA_RULE_CHAIN, direction->chain);
    size_t expressions = begin_nest(batch, NFTA_RULE_EXPRESSIONS);
    require(batch, NFT_PAYLOAD_NETWORK_HEADER, direction->address_at, &address, sizeof address);
    require(batch, NFT_PAYLOAD_NETWORK_HEADER, IP_PROTOCOL_AT, &protocol, sizeof protocol);
    require(batch, NFT_PAYLOAD_TRANSPORT_HEADER, direction->port_at, &port, sizeof port);
    set_port(batch, direction->port_at, new_port,
             protocol == IPPROTO_UDP ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT);
    end_nest(batch, expressions);
    end_message(batch);
}

static void add_rules(struct batch *batch, uint8_t protocol, uint32_t address, uint16_t from,
                      uint16_t to)
{
    add_rule(batch, &to_resolver, protocol, address, htons(from), htons(to));
    add_rule(batch, &from_resolver, protocol, address, htons(to), htons(from));
}

// The kernel answers messages that it cannot carry out, and the last ones of all.
static int await_answer(int fd, uint32_t last_sequence)
{
    uint32_t answer[BATCH_BYTES / sizeof(uint32_t)];
    for (;;) {
        ssize_t count = recv(fd, answer, sizeof answer, 0);
        if (count < 0)
            return -errno;
        int rest = (int)count;
        for (struct nlmsghdr *header = (struct nlmsghdr *)answer; NLMSG_OK(header, (unsigned)rest);
             header = NLMSG_NEXT(header, rest)) {
            const struct nlmsgerr *error = NLMSG_DATA(header);
            if (header->nlmsg_type != NLMSG_ERROR)
                return -EPROTO;
            if (error->error != 0 || header->nlmsg_seq == last_sequence)
                return error->error;
        }
    }
}

int port_redirect(uint32_t address, uint16_t from, uint16_t udp, uint16_t tcp)
{
    static struct batch batch;
    batch = (struct batch){.length = 0};
    begin_message(&batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC);
    end_message(&batch);
    begin_message(&batch, NFTABLES_TYPE(NFT_MSG_NEWTABLE), NLM_F_CREATE, NFPROTO_IPV4);
    add_text(&batch, NFTA_TABLE_NAME, TABLE);
    end_message(&batch);
    add_chain(&batch, &to_resolver);
    add_chain(&batch, &from_resolver);
    add_rules(&batch, IPPROTO_UDP, address, from, udp);
    add_rules(&batch, IPPROTO_TCP, address, from, tcp);
    uint32_t last_rule = batch.sequence;
    begin_message(&batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC);
    end_message(&batch);
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0)
        return -errno;
    int result = send(fd, batch.data, batch.length, 0) < 0 ? -errno : await_answer(fd, last_rule);
    close(fd);
    return result;
}
