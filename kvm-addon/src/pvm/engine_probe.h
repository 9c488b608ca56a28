/* Whether this host's kvm-pvm behaves as the engine needs. */
#ifndef TSVM_PVM_ENGINE_PROBE_H
#define TSVM_PVM_ENGINE_PROBE_H

/*
 * Changes page tables of a throw-away VM behind KVM's back and looks whether the zaps (tables.h)
 * make KVM notice; some milliseconds. Returns 1, 0 (it does not, or lacks a capability), or -errno.
 */
int engine_probe(const char *device_path);

#endif
