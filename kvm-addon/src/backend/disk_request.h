/* How a request to a disk proceeds: on its extents, or to the script. */
#ifndef TSVM_DISK_REQUEST_H
#define TSVM_DISK_REQUEST_H

#include "disk_types.h"

/* Begins a request. `session` and what is the submitter's are set. */
void disk_request_begin(struct disk_request *request);

/* Goes on with a request of which nothing is in flight. */
void disk_request_advance(struct disk_request *request);

/* Ends the current step of a request of which nothing is in flight, with 0 or -errno. */
void disk_request_finish(struct disk_request *request, int error);

#endif
