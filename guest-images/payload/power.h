/* Ways for the guest to end the virtual machine. */
#ifndef PAYLOAD_POWER_H
#define PAYLOAD_POWER_H

enum power_off_result {
    POWER_OFF_SUCCESS,
    POWER_OFF_FAILURE,
};

/* Ends by the method in exit= on the command line; if that does not work, by the others. */
_Noreturn void power_off(enum power_off_result result);

#endif
