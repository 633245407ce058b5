/* Memory, and nothing else of the C library's header: see memory.c. */
#ifndef FLOORHAND_STDLIB_H
#define FLOORHAND_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *memory, size_t size);
void free(void *memory);
_Noreturn void abort(void);

#endif
