/* Memory for rings and buffers, taken from the RAM after the image and never given back, except
 * as a whole by heap_rewind. It is not zeroed. */
#ifndef PAYLOAD_HEAP_H
#define PAYLOAD_HEAP_H

#include <stddef.h>

/* Ends the payload with a message when out of RAM. */
void *heap_take(size_t size, size_t alignment);
void *heap_mark(void);
void heap_rewind(void *mark);

#endif
