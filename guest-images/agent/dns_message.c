#include "dns_message.h"

#include <string.h>

#define LABEL_BYTES_MAX 63
#define NAME_BYTES_MAX 255
#define RESPONSE 0x80    // of the third byte
#define KEPT_FLAGS 0x79  // of it, in an answer: operation, and whether recursion is desired
#define CAN_RECURSE 0x80 // of the fourth byte
#define CODE 0x0f        // of it
#define QUESTION_COUNT 4 // where it is in the header
#define TYPE_AND_CLASS_BYTES 4

static uint16_t number_at(const uint8_t *message, size_t at)
{
    return (uint16_t)(message[at] << 8 | message[at + 1]);
}

// Of the question behind the header; 0 if it cannot be read.
static size_t question_length(const uint8_t *message, size_t length)
{
    size_t at = DNS_HEADER_BYTES;
    while (at < length && at - DNS_HEADER_BYTES < NAME_BYTES_MAX) {
        uint8_t label = message[at++];
        if (label > LABEL_BYTES_MAX)
            return 0;
        if (label == 0) {
            size_t bytes = at + TYPE_AND_CLASS_BYTES - DNS_HEADER_BYTES;
            return DNS_HEADER_BYTES + bytes <= length ? bytes : 0;
        }
        at += label;
    }
    return 0;
}

bool dns_is_query(const uint8_t *message, size_t length)
{
    return length >= DNS_HEADER_BYTES && length <= DNS_QUERY_BYTES_MAX &&
           !(message[2] & RESPONSE) && number_at(message, QUESTION_COUNT) == 1 &&
           question_length(message, length) != 0;
}

bool dns_is_answer(const uint8_t *answer, size_t length, const uint8_t *query, size_t query_length)
{
    size_t question = question_length(query, query_length);
    return length >= DNS_HEADER_BYTES + question && answer[2] & RESPONSE &&
           dns_id(answer) == dns_id(query) && number_at(answer, QUESTION_COUNT) == 1 &&
           memcmp(answer + DNS_HEADER_BYTES, query + DNS_HEADER_BYTES, question) == 0;
}

uint16_t dns_id(const uint8_t *message)
{
    return number_at(message, 0);
}

void dns_set_id(uint8_t *message, uint16_t id)
{
    message[0] = (uint8_t)(id >> 8);
    message[1] = (uint8_t)id;
}

uint8_t dns_code(const uint8_t *answer)
{
    return answer[3] & CODE;
}

bool dns_has_failed(const uint8_t *answer)
{
    uint8_t code = dns_code(answer);
    return code == DNS_SERVER_FAILURE || code == DNS_REFUSED || code == DNS_NOT_IMPLEMENTED;
}

size_t dns_fail(uint8_t *query, size_t length, uint8_t code)
{
    size_t question = question_length(query, length);
    query[2] = RESPONSE | (query[2] & KEPT_FLAGS);
    query[3] = CAN_RECURSE | code;
    // No records: answers, authorities, others.
    memset(query + QUESTION_COUNT + 2, 0, DNS_HEADER_BYTES - QUESTION_COUNT - 2);
    return DNS_HEADER_BYTES + question;
}
