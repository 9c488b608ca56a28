#include "cpuid.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

/* struct kvm_cpuid2 with a full-size array at its end. */
struct cpuid_list {
    struct kvm_cpuid2 header;
    struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

int kvm_get_supported_cpuid(int kvm_fd, struct kvm_cpuid_entry2 *entries)
{
    struct cpuid_list list = {.header.nent = CPUID_ENTRIES_MAX};
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &list) < 0)
        return -errno;
    memcpy(entries, list.entries, list.header.nent * sizeof *entries);
    return (int)list.header.nent;
}

int kvm_set_cpuid(int vcpu_fd, const struct kvm_cpuid_entry2 *entries, size_t count)
{
    if (count > CPUID_ENTRIES_MAX)
        return -E2BIG;
    struct cpuid_list list = {.header.nent = (uint32_t)count};
    memcpy(list.entries, entries, count * sizeof *entries);
    return ioctl(vcpu_fd, KVM_SET_CPUID2, &list) < 0 ? -errno : 0;
}
