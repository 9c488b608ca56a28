/*
 * The state of one stopped vCPU. Registers, segments and pending events are in the page shared with
 * KVM (KVM_CAP_SYNC_REGS): KVM_RUN stores them on exit and loads the dirty ones on entry. On
 * kvm-pvm each vCPU ioctl costs about 5 us, but the shared page only 0.3 us in total, so the calls
 * below are used only for other state. Unit tests replace the calls.
 */
#ifndef TSVM_EMULATOR_STATE_H
#define TSVM_EMULATOR_STATE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Exception vectors (Intel SDM volume 3, 6.3.1). */
#define EMU_VECTOR_BP 3
#define EMU_VECTOR_UD 6
#define EMU_VECTOR_NM 7
#define EMU_VECTOR_GP 13
#define EMU_VECTOR_PF 14
#define EMU_VECTOR_MF 16

#define EMU_RFLAGS_CF (1ull << 0)
#define EMU_RFLAGS_FIXED (1ull << 1)
#define EMU_RFLAGS_PF (1ull << 2)
#define EMU_RFLAGS_AF (1ull << 4)
#define EMU_RFLAGS_ZF (1ull << 6)
#define EMU_RFLAGS_SF (1ull << 7)
#define EMU_RFLAGS_TF (1ull << 8)
#define EMU_RFLAGS_IF (1ull << 9)
#define EMU_RFLAGS_DF (1ull << 10)
#define EMU_RFLAGS_OF (1ull << 11)
#define EMU_RFLAGS_NT (1ull << 14)
#define EMU_RFLAGS_RF (1ull << 16)
#define EMU_RFLAGS_AC (1ull << 18)
#define EMU_RFLAGS_ID (1ull << 21)

/* State that KVM_RUN synchronizes with the shared page. */
#define EMU_SYNC_REGS (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

/* Size of the XSAVE area in KVM_GET_XSAVE and KVM_SET_XSAVE, which has the standard format. */
#define EMU_XSAVE_IMAGE_LENGTH sizeof(struct kvm_xsave)

struct emu_state;

/* Each returns 0 or -errno. */
struct emu_state_calls {
    int (*get_xsave)(struct emu_state *state, uint8_t image[EMU_XSAVE_IMAGE_LENGTH]);
    int (*set_xsave)(struct emu_state *state, const uint8_t image[EMU_XSAVE_IMAGE_LENGTH]);
    int (*get_xcr0)(struct emu_state *state, uint64_t *value);
    int (*get_msr)(struct emu_state *state, uint32_t index, uint64_t *value);
    int (*set_msr)(struct emu_state *state, uint32_t index, uint64_t value);
};

struct emu_state {
    struct kvm_run *run;
    const struct emu_state_calls *calls;
    int vcpu_fd;
};

/* Implements the calls by ioctls on `vcpu_fd`. */
extern const struct emu_state_calls emu_state_kvm_calls;

static inline struct kvm_regs *emu_regs(struct emu_state *state)
{
    return &state->run->s.regs.regs;
}

static inline struct kvm_sregs *emu_sregs(struct emu_state *state)
{
    return &state->run->s.regs.sregs;
}

/* The current privilege level is the DPL of SS. */
static inline bool emu_is_user(struct emu_state *state)
{
    return emu_sregs(state)->ss.dpl == 3;
}

/* Call after changing emu_regs() or emu_sregs(). */
static inline void emu_dirty(struct emu_state *state, uint64_t what)
{
    state->run->kvm_dirty_regs |= what;
}

/* Sets the status flags in `mask` (EMU_RFLAGS_*) to their values in `flags`. */
void emu_set_flags(struct emu_state *state, uint64_t mask, uint64_t flags);

/* Retires the instruction: advances RIP by `length` bytes. */
void emu_retire(struct emu_state *state, unsigned length);

/* Makes the next KVM_RUN deliver an exception first. Does not change RIP. */
void emu_raise(struct emu_state *state, unsigned vector);
void emu_raise_with_code(struct emu_state *state, unsigned vector, uint32_t error_code);
void emu_raise_page_fault(struct emu_state *state, uint64_t address, uint32_t error_code);

#endif
