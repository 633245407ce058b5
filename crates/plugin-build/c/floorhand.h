/* Helpers for Floorhand plugins in C: configuration, numbers, state, text.
 *
 * There is no C library beside this: stdlib.h, string.h and math.h here have what a plugin needs and what gives the same
 * bits on every machine. Memory that can't be had ends the call with a trap, which the host counts as a fault. */
#ifndef FLOORHAND_H
#define FLOORHAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* --- Text ------------------------------------------------------------------------------------------------------------ */

/* Joins texts, the last of which is NULL, into a new one that ends in a zero; its length goes to `length` unless NULL. */
char *floorhand_join(size_t *length, const char *first, ...);

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

/* A value, as it stands in its text. */
typedef struct floorhand_json {
    const char *start;
    const char *end;
} floorhand_json;

/* Reads a whole text; false if it is no JSON, or nested more than 32 deep. What it gives points into the text. */
bool floorhand_json_parse(const char *text, size_t length, floorhand_json *value);

/* The member of an object; false if there is none, or the value is no object. */
bool floorhand_json_member(floorhand_json object, const char *name, floorhand_json *value);

/* The first member whose name isn't in the list, which ends in NULL, as a new text; NULL if all are known. Refuse what you
 * don't know: a mistyped key is then found when the bundle is packed. */
char *floorhand_json_unknown(floorhand_json object, const char *const *known);

bool floorhand_json_is_object(floorhand_json value);
bool floorhand_json_is_array(floorhand_json value);

/* The number of items of an array; 0 if it is none. */
size_t floorhand_json_count(floorhand_json array);

/* An item of an array, from 0; false if it isn't there. */
bool floorhand_json_item(floorhand_json array, size_t index, floorhand_json *value);

/* A number, correctly rounded; false if the value is none or too large. */
bool floorhand_json_number(floorhand_json value, double *number);

/* A whole number from `least` to `most`; false if the value is none. */
bool floorhand_json_integer(floorhand_json value, int64_t least, int64_t most, int64_t *number);

/* true or false; false is returned if the value is neither. */
bool floorhand_json_bool(floorhand_json value, bool *truth);

/* A new text that ends in a zero; NULL if the value is no string. Its length goes to `length` unless NULL. */
char *floorhand_json_string(floorhand_json value, size_t *length);

/* Reads a decimal number of a text, correctly rounded, and gives where it ends; NULL if none stands there. */
const char *floorhand_number(const char *text, const char *end, double *number);

/* --- Elements of tensors: little-endian, at no particular address --------------------------------------------------------- */

static inline float floorhand_f32(const uint8_t *data, size_t index) {
    float value;
    memcpy(&value, data + index * sizeof value, sizeof value);
    return value;
}

static inline void floorhand_set_f32(uint8_t *data, size_t index, float value) {
    memcpy(data + index * sizeof value, &value, sizeof value);
}

static inline double floorhand_f64(const uint8_t *data, size_t index) {
    double value;
    memcpy(&value, data + index * sizeof value, sizeof value);
    return value;
}

static inline void floorhand_set_f64(uint8_t *data, size_t index, double value) {
    memcpy(data + index * sizeof value, &value, sizeof value);
}

/* --- State ----------------------------------------------------------------------------------------------------------- */

/* Writes a snapshot into memory of a known size. Writing past its end sets `failed` and nothing else. */
typedef struct floorhand_writer {
    uint8_t *bytes;
    size_t size;
    size_t length;
    bool failed;
} floorhand_writer;

void floorhand_write_u32(floorhand_writer *writer, uint32_t value);
void floorhand_write_u64(floorhand_writer *writer, uint64_t value);
void floorhand_write_f32(floorhand_writer *writer, float value);
void floorhand_write_f64(floorhand_writer *writer, double value);
/* Bytes with their number before them, which takes four more. */
void floorhand_write_bytes(floorhand_writer *writer, const void *bytes, size_t length);

/* Reads a snapshot. Reading past its end gives zeros and sets `failed`. */
typedef struct floorhand_reader {
    const uint8_t *bytes;
    size_t length;
    bool failed;
} floorhand_reader;

uint32_t floorhand_read_u32(floorhand_reader *reader);
uint64_t floorhand_read_u64(floorhand_reader *reader);
float floorhand_read_f32(floorhand_reader *reader);
double floorhand_read_f64(floorhand_reader *reader);
/* Reads what `floorhand_write_bytes` wrote, at most `most` bytes, and gives their number. */
size_t floorhand_read_bytes(floorhand_reader *reader, void *bytes, size_t most);

/* Whether all of it has been read, and nothing past its end. */
static inline bool floorhand_read_all(const floorhand_reader *reader) {
    return !reader->failed && reader->length == 0;
}

#endif
