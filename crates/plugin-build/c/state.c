/* Snapshots: fixed-width numbers, little-endian. */

#include "floorhand.h"

static void put(floorhand_writer *writer, const void *value, size_t size) {
    if (writer->failed || writer->size - writer->length < size) {
        writer->failed = true;
        return;
    }
    memcpy(writer->bytes + writer->length, value, size);
    writer->length += size;
}

void floorhand_write_u32(floorhand_writer *writer, uint32_t value) { put(writer, &value, sizeof value); }
void floorhand_write_u64(floorhand_writer *writer, uint64_t value) { put(writer, &value, sizeof value); }
void floorhand_write_f32(floorhand_writer *writer, float value) { put(writer, &value, sizeof value); }
void floorhand_write_f64(floorhand_writer *writer, double value) { put(writer, &value, sizeof value); }

void floorhand_write_bytes(floorhand_writer *writer, const void *bytes, size_t length) {
    floorhand_write_u32(writer, (uint32_t)length);
    put(writer, bytes, length);
}

static void take(floorhand_reader *reader, void *value, size_t size) {
    if (reader->failed || reader->length < size) {
        reader->failed = true;
        memset(value, 0, size);
        return;
    }
    memcpy(value, reader->bytes, size);
    reader->bytes += size;
    reader->length -= size;
}

#define READ(type, name)                                                                                                \
    type name(floorhand_reader *reader) {                                                                               \
        type value;                                                                                                     \
        take(reader, &value, sizeof value);                                                                             \
        return value;                                                                                                   \
    }

READ(uint32_t, floorhand_read_u32)
READ(uint64_t, floorhand_read_u64)
READ(float, floorhand_read_f32)
READ(double, floorhand_read_f64)

size_t floorhand_read_bytes(floorhand_reader *reader, void *bytes, size_t most) {
    size_t length = floorhand_read_u32(reader);
    if (reader->failed || length > most) {
        reader->failed = true;
        return 0;
    }
    take(reader, bytes, length);
    return reader->failed ? 0 : length;
}
