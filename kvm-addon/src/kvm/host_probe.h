/* Finds out what kind of KVM this host has. */
#ifndef TSVM_HOST_PROBE_H
#define TSVM_HOST_PROBE_H

enum kvm_host {
    KVM_HOST_HARDWARE, /* VT-x or AMD-V: guests run natively */
    KVM_HOST_PVM,      /* kvm-pvm: an instruction emulator executes CPL 0 (vcpu/pvm_compat.h) */
};

/*
 * Runs INT3 at CPL 0 in a throw-away VM, which takes about a millisecond: hardware takes the
 * exception, the emulator of kvm-pvm refuses the instruction. Returns a kvm_host or -errno.
 */
int kvm_host_probe(const char *device_path);

#endif
