// Fills a new volume with what the image has in its place.
#pragma once

#include "failure.h"

// Copies what the folder has, with owners, modes, times and extended attributes, unless the volume
// has something already. Both are open folders.
int copy_up(int image_fd, int volume_fd, struct failure *failure);
