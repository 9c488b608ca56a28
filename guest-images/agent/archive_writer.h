// FRAME_WRITE_ARCHIVE: unpacks a tar archive into a folder of the container.
#pragma once

#include "fields.h"
#include "message.h"

int archive_write(int fd, struct bytes request, struct message *reply, struct failure *failure);
