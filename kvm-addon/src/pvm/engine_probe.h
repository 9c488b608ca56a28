/* Checks whether this host's kvm-pvm behaves as the engine requires. */
#ifndef TSVM_PVM_ENGINE_PROBE_H
#define TSVM_PVM_ENGINE_PROBE_H

/*
 * Changes page tables of a temporary VM without KVM's knowledge and checks whether the zaps
 * (tables.h) make KVM notice; takes some milliseconds. Returns 1, 0 (it does not, or lacks a
 * capability), or -errno.
 */
int engine_probe(const char *device_path);

#endif
