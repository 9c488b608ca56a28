// What the agent has to know of DNS messages (RFC 1035) to pass them on. Clients are processes of
// the container, and whoever answers may be anyone on its networks.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_PORT 53
#define DNS_HEADER_BYTES 12
// Longest question that is passed on. A name has at most 255 bytes.
#define DNS_QUERY_BYTES_MAX 1232
#define DNS_MESSAGE_BYTES_MAX 65535

enum dns_code {
    DNS_SERVER_FAILURE = 2,
    DNS_NO_SUCH_NAME = 3,
    DNS_NOT_IMPLEMENTED = 4,
    DNS_REFUSED = 5,
};

// Whether it is a message with one question, which can be passed on.
bool dns_is_query(const uint8_t *message, size_t length);
// Whether it answers this query, whose ID and question it then has.
bool dns_is_answer(const uint8_t *answer, size_t length, const uint8_t *query, size_t query_length);
// Of a message with a header.
uint16_t dns_id(const uint8_t *message);
void dns_set_id(uint8_t *message, uint16_t id);
uint8_t dns_code(const uint8_t *answer);
// Another server may know better.
bool dns_has_failed(const uint8_t *answer);
// Turns a query into an answer without records. Returns its length.
size_t dns_fail(uint8_t *query, size_t length, uint8_t code);
