/* The progress of a disk request: I/O on extents, or the script. */
#ifndef TSVM_DISK_REQUEST_H
#define TSVM_DISK_REQUEST_H

#include "disk_types.h"

/* Begins a request whose `session` and submitter's fields are set. */
void disk_request_begin(struct disk_request *request);

/* Continues a request. None of its I/O may be in flight. */
void disk_request_advance(struct disk_request *request);

/* Ends the current step of a request with 0 or -errno. None of its I/O may be in flight. */
void disk_request_finish(struct disk_request *request, int error);

#endif
