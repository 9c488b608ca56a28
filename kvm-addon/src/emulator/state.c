#include "state.h"

#include <errno.h>
#include <sys/ioctl.h>

void emu_set_flags(struct emu_state *state, uint64_t mask, uint64_t flags)
{
    struct kvm_regs *regs = emu_regs(state);
    regs->rflags = (regs->rflags & ~mask) | (flags & mask);
    emu_dirty(state, KVM_SYNC_X86_REGS);
}

/*
 * Of the optional fields of the events, only the interrupt shadow is written back. Another vCPU may
 * have changed the others, the pending NMI and the SIPI vector, since KVM_RUN returned.
 */
static struct kvm_vcpu_events *change_events(struct emu_state *state)
{
    struct kvm_vcpu_events *events = &state->run->s.regs.events;
    events->flags = KVM_VCPUEVENT_VALID_SHADOW;
    emu_dirty(state, KVM_SYNC_X86_EVENTS);
    return events;
}

void emu_retire(struct emu_state *state, unsigned length)
{
    struct kvm_regs *regs = emu_regs(state);
    regs->rip += length;
    regs->rflags &= ~EMU_RFLAGS_RF;
    emu_dirty(state, KVM_SYNC_X86_REGS);
    /* The interrupt shadow of STI and MOV SS covers one instruction, which was this one. */
    if (state->run->s.regs.events.interrupt.shadow)
        change_events(state)->interrupt.shadow = 0;
}

static void raise_exception(struct emu_state *state, unsigned vector, bool has_error_code,
                            uint32_t error_code)
{
    struct kvm_vcpu_events *events = change_events(state);
    events->exception.injected = 1;
    events->exception.pending = 0;
    events->exception.nr = (uint8_t)vector;
    events->exception.has_error_code = has_error_code;
    events->exception.error_code = error_code;
    events->exception_has_payload = 0;
    events->interrupt.shadow = 0;
}

void emu_raise(struct emu_state *state, unsigned vector)
{
    raise_exception(state, vector, false, 0);
}

void emu_raise_with_code(struct emu_state *state, unsigned vector, uint32_t error_code)
{
    raise_exception(state, vector, true, error_code);
}

void emu_raise_page_fault(struct emu_state *state, uint64_t address, uint32_t error_code)
{
    emu_sregs(state)->cr2 = address;
    emu_dirty(state, KVM_SYNC_X86_SREGS);
    raise_exception(state, EMU_VECTOR_PF, true, error_code);
}

static int call_ioctl(struct emu_state *state, unsigned long request, void *argument)
{
    return ioctl(state->vcpu_fd, request, argument) < 0 ? -errno : 0;
}

static int kvm_get_xsave(struct emu_state *state, uint8_t image[EMU_XSAVE_IMAGE_LENGTH])
{
    return call_ioctl(state, KVM_GET_XSAVE, image);
}

static int kvm_set_xsave(struct emu_state *state, const uint8_t image[EMU_XSAVE_IMAGE_LENGTH])
{
    return call_ioctl(state, KVM_SET_XSAVE, (void *)image);
}

static int kvm_get_xcr0(struct emu_state *state, uint64_t *value)
{
    struct kvm_xcrs xcrs;
    int error = call_ioctl(state, KVM_GET_XCRS, &xcrs);
    if (error < 0)
        return error;
    for (unsigned i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++) {
        if (xcrs.xcrs[i].xcr == 0) {
            *value = xcrs.xcrs[i].value;
            return 0;
        }
    }
    return -ENOENT;
}

/* struct kvm_msrs with one entry in its array. */
struct one_msr {
    __u32 count;
    __u32 padding;
    struct kvm_msr_entry entry;
};

static int kvm_get_msr(struct emu_state *state, uint32_t index, uint64_t *value)
{
    struct one_msr msr = {.count = 1, .entry.index = index};
    int done = ioctl(state->vcpu_fd, KVM_GET_MSRS, &msr);
    if (done != 1)
        return done < 0 ? -errno : -EINVAL;
    *value = msr.entry.data;
    return 0;
}

static int kvm_set_msr(struct emu_state *state, uint32_t index, uint64_t value)
{
    struct one_msr msr = {.count = 1, .entry = {.index = index, .data = value}};
    int done = ioctl(state->vcpu_fd, KVM_SET_MSRS, &msr);
    if (done != 1)
        return done < 0 ? -errno : -EINVAL;
    return 0;
}

const struct emu_state_calls emu_state_kvm_calls = {
    .get_xsave = kvm_get_xsave,
    .set_xsave = kvm_set_xsave,
    .get_xcr0 = kvm_get_xcr0,
    .get_msr = kvm_get_msr,
    .set_msr = kvm_set_msr,
};
