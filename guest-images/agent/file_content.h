// What is in a file that goes into an archive or comes from one. Large files pass the page cache
// by: for the guest's kernel, a page of it costs several times what copying its bytes does.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "source.h"

// Fills a new file from a stream. 0, -errno of the file, or SOURCE_FAILED.
int file_content_write(int fd, struct source *source, uint64_t size);

// Of file_content_write(): the stream broke off.
#define SOURCE_FAILED 1

// Prepares a file of `size` bytes for reads of whole pages into memory that begins at one. False:
// it is to be read as usual.
bool file_content_read_directly(int fd, uint64_t size);
// Undoes it, for reads of any length.
void file_content_read_cached(int fd);
