/* The ways to end a virtual machine from inside. */
#ifndef PAYLOAD_POWER_H
#define PAYLOAD_POWER_H

enum power_off_result {
    POWER_OFF_SUCCESS,
    POWER_OFF_FAILURE,
};

/* By the way that the command line's exit= names; then, were that not to work, by the others. */
_Noreturn void power_off(enum power_off_result result);

#endif
