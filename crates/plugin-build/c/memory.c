/* Memory: what a plugin asks for and gives back.
 *
 * Blocks come in sizes of four steps to a doubling. One that is given back waits in the list of its size for the next of
 * that size; none is split or joined. That is quick, needs no search, and a plugin that asks for the same sizes in every
 * call doesn't grow. New blocks are cut from the end of memory, which grows up to the host's limit. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Every block begins at a multiple of this, behind a header of the same size. */
#define ALIGNMENT 16
#define PAGE 65536
/* Four for each doubling from 16 bytes to 4 GiB. */
#define SIZES 116

typedef struct block {
    uint32_t size_class;
    /* The next free one of the size. */
    struct block *next;
    uint32_t unused[2];
} block;

extern unsigned char __heap_base;

static block *free_blocks[SIZES];
static uintptr_t end_of_heap;

/* The size of a class without the header: 16, 20, 24, 28 (each rounded up to 16), then 32, 40, 48, 56, ... */
static uint64_t class_size(uint32_t size_class) {
    uint64_t size = (uint64_t)(4 + size_class % 4) << (2 + size_class / 4);
    return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint32_t class_of(size_t size) {
    if (size <= 16) {
        return 0;
    }
    /* The doubling that the last byte lies in, less one for the step below. */
    uint32_t doubling = 31 - (uint32_t)__builtin_clz((uint32_t)size);
    uint32_t size_class = (doubling - 4) * 4;
    while (class_size(size_class) < size) {
        size_class++;
    }
    return size_class;
}

/* Cuts from the end of memory; NULL if the host gives no more. */
static block *cut(uint32_t size_class) {
    if (end_of_heap == 0) {
        end_of_heap = ((uintptr_t)&__heap_base + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    uint64_t end = (uint64_t)end_of_heap + sizeof(block) + class_size(size_class);
    uint64_t pages = (end + PAGE - 1) / PAGE;
    uint64_t present = __builtin_wasm_memory_size(0);
    if (pages > 65535 || (pages > present && __builtin_wasm_memory_grow(0, pages - present) == SIZE_MAX)) {
        return NULL;
    }
    block *new_block = (block *)end_of_heap;
    new_block->size_class = size_class;
    end_of_heap = (uintptr_t)end;
    return new_block;
}

void *malloc(size_t size) {
    uint32_t size_class = class_of(size);
    if (size_class >= SIZES) {
        return NULL;
    }
    block *found = free_blocks[size_class];
    if (found != NULL) {
        free_blocks[size_class] = found->next;
    } else {
        found = cut(size_class);
    }
    return found == NULL ? NULL : found + 1;
}

void free(void *memory) {
    if (memory == NULL) {
        return;
    }
    block *freed = (block *)memory - 1;
    freed->next = free_blocks[freed->size_class];
    free_blocks[freed->size_class] = freed;
}

void *calloc(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    void *memory = malloc(bytes);
    return memory == NULL ? NULL : memset(memory, 0, bytes);
}

void *realloc(void *memory, size_t size) {
    if (memory == NULL) {
        return malloc(size);
    }
    uint64_t present = class_size(((block *)memory - 1)->size_class);
    if (size <= present) {
        return memory;
    }
    void *moved = malloc(size);
    if (moved != NULL) {
        memcpy(moved, memory, (size_t)present);
        free(memory);
    }
    return moved;
}

_Noreturn void abort(void) { __builtin_trap(); }

/* With bulk memory these are an instruction each. */
void *memcpy(void *restrict to, const void *restrict from, size_t size) { return __builtin_memcpy(to, from, size); }

void *memmove(void *to, const void *from, size_t size) { return __builtin_memmove(to, from, size); }

void *memset(void *to, int byte, size_t size) { return __builtin_memset(to, byte, size); }

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *a = one, *b = other;
    for (size_t index = 0; index < size; index++) {
        if (a[index] != b[index]) {
            return a[index] < b[index] ? -1 : 1;
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) {
        length++;
    }
    return length;
}

int strcmp(const char *one, const char *other) {
    while (*one != 0 && *one == *other) {
        one++;
        other++;
    }
    return (unsigned char)*one - (unsigned char)*other;
}
