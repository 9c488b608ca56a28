/* General registers by their number in instruction encodings: 0 RAX, 1 RCX ... 15 R15. */
#ifndef TSVM_EMULATOR_REGISTER_H
#define TSVM_EMULATOR_REGISTER_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

/* Takes the number modulo 16, so that a decoder bug cannot access memory outside the struct. */
static inline size_t emu_register_offset(unsigned number)
{
    static const uint8_t offsets[16] = {
        offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx),
        offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rbx),
        offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
        offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
        offsetof(struct kvm_regs, r8),  offsetof(struct kvm_regs, r9),
        offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
        offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13),
        offsetof(struct kvm_regs, r14), offsetof(struct kvm_regs, r15),
    };
    return offsets[number % 16];
}

static inline uint64_t emu_register_read(const struct kvm_regs *regs, unsigned number)
{
    return *(const __u64 *)((const char *)regs + emu_register_offset(number));
}

/* `size` is 2, 4 or 8 bytes. As on the CPU, 4 clears the upper half, and 2 keeps the other bits. */
static inline void emu_register_write(struct kvm_regs *regs, unsigned number, uint64_t value,
                                      unsigned size)
{
    __u64 *target = (__u64 *)((char *)regs + emu_register_offset(number));
    if (size == 8)
        *target = value;
    else if (size == 4)
        *target = (uint32_t)value;
    else
        *target = (*target & ~0xffffull) | (value & 0xffff);
}

#endif
