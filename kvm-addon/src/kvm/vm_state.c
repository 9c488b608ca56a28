#include "vm_state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHIP(name, chip)                                                                           \
    {                                                                                              \
        name, "KVM_GET_IRQCHIP", "KVM_SET_IRQCHIP", KVM_GET_IRQCHIP, KVM_SET_IRQCHIP,              \
            sizeof(struct kvm_irqchip), chip                                                       \
    }

static const struct vm_state_kind state_kinds[] = {
    CHIP("pic-master", KVM_IRQCHIP_PIC_MASTER),
    CHIP("pic-slave", KVM_IRQCHIP_PIC_SLAVE),
    CHIP("ioapic", KVM_IRQCHIP_IOAPIC),
    {"pit", "KVM_GET_PIT2", "KVM_SET_PIT2", KVM_GET_PIT2, KVM_SET_PIT2,
     sizeof(struct kvm_pit_state2), 0},
    {"clock", "KVM_GET_CLOCK", "KVM_SET_CLOCK", KVM_GET_CLOCK, KVM_SET_CLOCK,
     sizeof(struct kvm_clock_data), 0},
};

const struct vm_state_kind *vm_state_find(const char *name)
{
    for (size_t i = 0; i < sizeof state_kinds / sizeof *state_kinds; i++) {
        if (strcmp(state_kinds[i].name, name) == 0)
            return &state_kinds[i];
    }
    return NULL;
}

int vm_get_state(const struct vm *vm, const struct vm_state_kind *kind, void *state)
{
    memset(state, 0, kind->size);
    if (kind->get == KVM_GET_IRQCHIP)
        ((struct kvm_irqchip *)state)->chip_id = kind->chip;
    return ioctl(vm->fd, kind->get, state) < 0 ? -errno : 0;
}

int vm_set_state(const struct vm *vm, const struct vm_state_kind *kind, void *state)
{
    if (kind->set == KVM_SET_IRQCHIP && ((struct kvm_irqchip *)state)->chip_id != kind->chip)
        return -EINVAL;
    /* With KVM_CLOCK_REALTIME, the time since the clock was read would pass at once. */
    if (kind->set == KVM_SET_CLOCK)
        ((struct kvm_clock_data *)state)->flags = 0;
    return ioctl(vm->fd, kind->set, state) < 0 ? -errno : 0;
}
