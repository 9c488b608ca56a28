/* The last step of every test of a misbehaving driver. */
#ifndef PAYLOAD_BAD_DRIVER_H
#define PAYLOAD_BAD_DRIVER_H

#include "test.h"
#include "virtio_blk.h"

/* Resets the device and reads a sector like a correct driver. */
enum verdict bad_driver_works_again(struct blk *blk);
/* Waits for DEVICE_NEEDS_RESET and its notification, then as above. With the word "lenient" on the
 * command line, it does not wait: for VMMs that tolerate more than they have to. */
enum verdict bad_driver_needs_reset(struct blk *blk);
/* For a well-formed chain that is not a request: the device returns it or needs a reset. */
enum verdict bad_driver_gets_answer(struct blk *blk);
/* Sets queue 0 up with a bad size or with bad addresses of descriptor table, available ring and
 * used ring: the queue does not become ready, or the device needs a reset. */
enum verdict bad_driver_misplaces(struct blk *blk, uint32_t size, const uint64_t parts[3]);

#endif
