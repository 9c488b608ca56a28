/* Finds out what kind of KVM this host has. */
#ifndef TSVM_HOST_PROBE_H
#define TSVM_HOST_PROBE_H

#include <stdbool.h>

#include "vm_error.h"

enum kvm_host {
    KVM_HOST_HARDWARE, /* VT-x or AMD-V: guests run natively */
    KVM_HOST_PVM,      /* kvm-pvm: an instruction emulator executes CPL 0 (emulator/compat.h) */
};

/*
 * Runs INT3 at CPL 0 in a temporary VM, which takes about a millisecond: hardware raises the
 * exception, kvm-pvm's emulator does not support the instruction. Returns false and sets `failed`
 * on error.
 */
bool kvm_host_probe(const char *device_path, enum kvm_host *host, struct vm_error *failed);

#endif
