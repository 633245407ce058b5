/* Text for people: joined from pieces. */

#include "floorhand.h"
#include <stdarg.h>
#include <stdlib.h>

char *floorhand_join(size_t *length, const char *first, ...) {
    va_list pieces;
    size_t total = 0;
    va_start(pieces, first);
    for (const char *piece = first; piece != NULL; piece = va_arg(pieces, const char *)) {
        total += strlen(piece);
    }
    va_end(pieces);
    char *joined = malloc(total + 1);
    if (joined == NULL) {
        abort();
    }
    size_t at = 0;
    va_start(pieces, first);
    for (const char *piece = first; piece != NULL; piece = va_arg(pieces, const char *)) {
        memcpy(joined + at, piece, strlen(piece));
        at += strlen(piece);
    }
    va_end(pieces);
    joined[at] = 0;
    if (length != NULL) {
        *length = at;
    }
    return joined;
}
