#include "overlay.h"

#include <sys/xattr.h>

#define OPAQUE "trusted.overlay.opaque"

bool overlay_is_whiteout(const struct stat *status)
{
    return S_ISCHR(status->st_mode) && status->st_rdev == 0;
}

bool overlay_is_opaque(int folder_fd)
{
    char value[2];
    return fgetxattr(folder_fd, OPAQUE, value, sizeof value) == 1 && value[0] == 'y';
}
