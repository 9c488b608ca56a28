/* Segment descriptors and gates (SDM 3A 3.4.5, 5.8.3.1, 6.14.1). */
#ifndef TSVM_PVM_DESCRIPTOR_H
#define TSVM_PVM_DESCRIPTOR_H

#include "cpu.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI 4u
#define SELECTOR_INDEX 0xfff8u

/* Types of segments: bit 3 tells code from data; system segments have types of their own. */
#define TYPE_ACCESSED 1u
#define TYPE_WRITABLE 2u /* of data; of code: readable */
#define TYPE_READABLE 2u
#define TYPE_CONFORMING 4u /* of code; of data: expand-down */
#define TYPE_CODE 8u
#define TYPE_LDT 2u
#define TYPE_TSS_AVAILABLE 9u
#define TYPE_TSS_BUSY 11u
#define TYPE_INTERRUPT_GATE 14u
#define TYPE_TRAP_GATE 15u

static inline bool selector_is_null(uint16_t selector)
{
    return (selector & ~SELECTOR_RPL) == 0;
}

static inline unsigned selector_rpl(uint16_t selector)
{
    return selector & SELECTOR_RPL;
}

/* The part of a selector that an error code contains. */
static inline uint32_t selector_error(uint16_t selector)
{
    return selector & ~SELECTOR_RPL;
}

/* A descriptor of 8 bytes as KVM holds a loaded one; `limit` in bytes. */
struct kvm_segment descriptor_parse(uint16_t selector, uint64_t raw);

static inline bool descriptor_is_code(const struct kvm_segment *segment)
{
    return segment->s && segment->type & TYPE_CODE;
}

/* The flat segments that SYSCALL, SYSENTER and their returns load, whatever the GDT says. */
static inline struct kvm_segment descriptor_flat_code(uint16_t selector, unsigned dpl,
                                                      bool is_64_bit)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .type = TYPE_CODE | TYPE_READABLE | TYPE_ACCESSED,
        .present = 1,
        .dpl = (uint8_t)dpl,
        .s = 1,
        .l = is_64_bit,
        .db = !is_64_bit,
        .g = 1,
    };
}

static inline struct kvm_segment descriptor_flat_data(uint16_t selector, unsigned dpl)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .type = TYPE_WRITABLE | TYPE_ACCESSED,
        .present = 1,
        .dpl = (uint8_t)dpl,
        .s = 1,
        .db = 1,
        .g = 1,
    };
}

#endif
