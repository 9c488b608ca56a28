/* The last step of every test of a misbehaving driver. */
#ifndef PAYLOAD_BAD_DRIVER_H
#define PAYLOAD_BAD_DRIVER_H

#include "test.h"
#include "virtio_blk.h"

/* Resets the device and reads a sector like a correct driver. */
enum verdict bad_driver_works_again(struct blk *blk);
/* Waits for DEVICE_NEEDS_RESET and its notification, then as above. With the word "lenient" on the
 * command line, only the latter: for devices that bear more than they must. */
enum verdict bad_driver_needs_reset(struct blk *blk);
/* For a chain that is well-formed and yet no request: the device returns it or needs a reset. */
enum verdict bad_driver_gets_answer(struct blk *blk);

#endif
