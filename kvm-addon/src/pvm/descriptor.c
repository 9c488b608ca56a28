#include "descriptor.h"

struct kvm_segment descriptor_parse(uint16_t selector, uint64_t raw)
{
    struct kvm_segment segment = {
        .selector = selector,
        .base = (raw >> 16 & 0xffffff) | (raw >> 56 & 0xff) << 24,
        .limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000)),
        .type = raw >> 40 & 15,
        .s = raw >> 44 & 1,
        .dpl = raw >> 45 & 3,
        .present = raw >> 47 & 1,
        .avl = raw >> 52 & 1,
        .l = raw >> 53 & 1,
        .db = raw >> 54 & 1,
        .g = raw >> 55 & 1,
    };
    if (segment.g)
        segment.limit = segment.limit << 12 | 0xfff;
    return segment;
}
