/* Parts of the engine that a test does not use and that are not there yet: each aborts. */
#ifndef TSVM_TEST_ENGINE_MISSING_H
#define TSVM_TEST_ENGINE_MISSING_H

#include <stdlib.h>

__attribute__((used)) static void engine_missing(void)
{
    abort();
}

#define MISSING(name) __asm__(".weak " #name "\n.set " #name ", engine_missing");
MISSING(control_invpcid)
MISSING(control_read)
MISSING(control_write)
MISSING(cpuid_execute)
MISSING(debug_read)
MISSING(debug_write)
MISSING(device_read)
MISSING(device_write)
MISSING(far_iret)
MISSING(far_jump)
MISSING(far_return)
MISSING(far_syscall)
MISSING(far_sysenter)
MISSING(far_sysexit)
MISSING(far_sysret)
MISSING(msr_read)
MISSING(msr_write)
MISSING(port_read)
MISSING(port_write)
MISSING(private_region_root)
MISSING(private_region_root_entry)
MISSING(private_region_root_gpa)
MISSING(segment_load)
MISSING(segment_load_ldt)
MISSING(segment_load_tr)
MISSING(segment_selector)
MISSING(segment_swap_gs)

#endif
