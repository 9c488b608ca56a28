/* Exceptions: the end of an attempt, or of the run. Entered from entry.S. */
#include "attempt.h"
#include "interrupts.h"
#include "power.h"
#include "serial.h"

/* Called by the exception stubs, at CPL 0. */
_Noreturn void exception_report(const struct exception_frame *frame, uint64_t cr2)
{
    attempt_caught(frame, cr2);
    print("\nfatal vector=%lu rip=%p error=%lx cr2=%p cpl=%lu\n", frame->vector,
          (void *)frame->interrupted.rip, frame->error_code, (void *)cr2,
          frame->interrupted.cs & 3);
    power_off(POWER_OFF_FAILURE);
}
