// The overlay of image and writable layer, and how it records deletions:
// Linux's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#define OVERLAY_IMAGE "/image"
// What every container has over its image: mount points and the files that people expect.
#define OVERLAY_BASE "/base"
#define OVERLAY_WRITABLE "/writable"
#define OVERLAY_UPPER OVERLAY_WRITABLE "/upper"
#define OVERLAY_WORK OVERLAY_WRITABLE "/work"

// OCI image specification, "Whiteouts".
#define OCI_WHITEOUT_PREFIX ".wh."
// Behind the prefix: ".wh..wh..opq".
#define OCI_OPAQUE ".wh..opq"

bool overlay_is_whiteout(const struct stat *status);
bool overlay_is_opaque(int folder_fd);
