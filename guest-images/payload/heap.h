/* Memory for rings and buffers from the RAM after the image. It is not zeroed, and only freed by
 * heap_rewind. */
#ifndef PAYLOAD_HEAP_H
#define PAYLOAD_HEAP_H

#include <stddef.h>

/* Ends the payload with a message when out of RAM. */
void *heap_take(size_t size, size_t alignment);
void *heap_mark(void);
void heap_rewind(void *mark);

#endif
