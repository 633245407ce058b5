/* Reads lines of numbers: one sample a line, its values between separators.
 *
 * What is handed in belongs to the plugin, which frees it; what is handed out is freed by the bindings. */

#include "decoder.h"
#include "floorhand.h"
#include <math.h>
#include <stdlib.h>

typedef exports_floorhand_plugin_decoding_error_t error;

#define MAX_FIELDS 256
/* Lines of a message: the interface allows 4096 samples and as many failures, of which one tells of the lines behind these. */
#define MAX_LINES 4095
/* Messages of a call: samples of all of them stand in the plugin's memory at once, and one can fill it. */
#define MAX_MESSAGES 1

/* The configuration. An instance is configured once and never in two calls at a time. */
static struct {
    bool done;
    char *output;
    size_t columns;
    char *fields[MAX_FIELDS];
    char separator;
} config;

/* Fills in an error, and gives the false that the functions below answer with. The text is copied. */
static bool refuse(error *to, uint8_t tag, const char *text) {
    to->tag = tag;
    decoder_string_dup(&to->val.bad_input, text);
    return false;
}

static bool bad_config(error *to, const char *text) {
    return refuse(to, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_CONFIG, text);
}

static bool bad_input(error *to, const char *text) {
    return refuse(to, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_INPUT, text);
}

static bool read_config(floorhand_json json, error *err) {
    static const char *const known[] = {"output", "fields", "separator", NULL};
    floorhand_json value, item;
    size_t length = 0;
    char *unknown = floorhand_json_unknown(json, known);
    if (unknown != NULL) {
        return bad_config(err, floorhand_join(NULL, "unknown key ", unknown, ": output, fields, separator", NULL));
    }
    if (!floorhand_json_member(json, "output", &value) || (config.output = floorhand_json_string(value, NULL)) == NULL) {
        return bad_config(err, "output has to be a tensor's name");
    }
    char *separator = floorhand_json_member(json, "separator", &value) ? floorhand_json_string(value, &length) : NULL;
    if (separator == NULL || length != 1 || (separator[0] & 0x80) != 0) {
        return bad_config(err, "separator has to be one character of ASCII");
    }
    config.separator = separator[0];
    size_t columns = floorhand_json_member(json, "fields", &value) ? floorhand_json_count(value) : 0;
    if (columns < 1 || columns > MAX_FIELDS) {
        return bad_config(err, "fields has to have 1 to 256 names");
    }
    for (size_t column = 0; column < columns; column++) {
        floorhand_json_item(value, column, &item);
        config.fields[column] = floorhand_json_string(item, NULL);
        if (config.fields[column] == NULL) {
            return bad_config(err, "fields has an item that is no name");
        }
    }
    config.columns = columns;
    return true;
}

/* The one tensor of a sample. */
static exports_floorhand_plugin_decoding_list_tensor_spec_t outputs(void) {
    floorhand_plugin_types_tensor_spec_t *spec = calloc(1, sizeof *spec);
    int32_t *shape = malloc(2 * sizeof *shape);
    floorhand_plugin_types_field_t *fields = calloc(config.columns, sizeof *fields);
    if (spec == NULL || shape == NULL || fields == NULL) {
        abort();
    }
    shape[0] = 1;
    shape[1] = (int32_t)config.columns;
    for (size_t column = 0; column < config.columns; column++) {
        decoder_string_dup(&fields[column].name, config.fields[column]);
    }
    decoder_string_dup(&spec->name, config.output);
    spec->datatype = FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32;
    spec->shape = (decoder_list_s32_t){shape, 2};
    spec->fields = (floorhand_plugin_types_list_field_t){fields, config.columns};
    return (exports_floorhand_plugin_decoding_list_tensor_spec_t){spec, 1};
}

bool exports_floorhand_plugin_decoding_configure(decoder_string_t *text,
                                                 exports_floorhand_plugin_decoding_list_asset_t *assets,
                                                 exports_floorhand_plugin_decoding_list_tensor_spec_t *wanted,
                                                 exports_floorhand_plugin_decoding_production_t *ret, error *err) {
    floorhand_json json;
    bool read = floorhand_json_parse((const char *)text->ptr, text->len, &json) && floorhand_json_is_object(json);
    bool good = false;
    if (config.done) {
        bad_config(err, "this instance is configured already");
    } else if (!read) {
        bad_config(err, "the configuration is no JSON object");
    } else {
        good = config.done = read_config(json, err);
    }
    exports_floorhand_plugin_decoding_list_asset_free(assets);
    exports_floorhand_plugin_decoding_list_tensor_spec_free(wanted);
    decoder_string_free(text);
    if (good) {
        ret->outputs = outputs();
        ret->state_bytes = 0;
        ret->max_messages = MAX_MESSAGES;
    }
    return good;
}

static bool is_blank(char character) { return character == ' ' || character == '\t' || character == '\r'; }

/* Reads the values of a line. */
static bool read_line(const char *at, const char *end, uint8_t *values, error *err) {
    size_t column = 0;
    for (;; at++) {
        double value;
        while (at < end && is_blank(*at) && *at != config.separator) {
            at++;
        }
        at = floorhand_number(at, end, &value);
        if (at == NULL || !isfinite((float)value)) {
            return bad_input(err, "a value is no number");
        }
        if (column == config.columns) {
            return bad_input(err, "the line has more values than fields");
        }
        floorhand_set_f32(values, column++, (float)value);
        while (at < end && is_blank(*at) && *at != config.separator) {
            at++;
        }
        if (at == end) {
            return column == config.columns || bad_input(err, "the line has fewer values than fields");
        }
        if (*at != config.separator) {
            return bad_input(err, "something else than the separator stands behind a value");
        }
    }
}

/* What the messages of a call came to so far; the values of all samples stand one behind the other. */
static struct {
    exports_floorhand_plugin_decoding_sample_t *samples;
    uint8_t *values;
    size_t count;
    /* Those of messages before the one that is being read. */
    size_t before;
    exports_floorhand_plugin_decoding_failure_t *failures;
    size_t failed;
} found;

/* Memory for one more of what there are so many of: it doubles when a power of two is full. */
static void *grown(void *memory, size_t count, size_t size) {
    if (count >= 16 && (count & (count - 1)) != 0) {
        return memory;
    }
    if (count > 0 && count < 16) {
        return memory;
    }
    memory = realloc(memory, (count < 16 ? 16 : 2 * count) * size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* The error of a failure behind the samples that were found in the message so far. A source of several machines' samples says
 * also of which `key` it is, if that could be read: without it, samples of all of them count as missing. */
static error *failure(uint32_t message) {
    found.failures = grown(found.failures, found.failed, sizeof *found.failures);
    exports_floorhand_plugin_decoding_failure_t *failed = &found.failures[found.failed++];
    memset(failed, 0, sizeof *failed);
    failed->message = message;
    failed->samples_before = (uint32_t)(found.count - found.before);
    return &failed->error;
}

static void read_sample(const char *at, const char *end, uint32_t message) {
    size_t bytes = config.columns * sizeof(float);
    error err;
    found.samples = grown(found.samples, found.count, sizeof *found.samples);
    found.values = grown(found.values, found.count, bytes);
    if (!read_line(at, end, found.values + found.count * bytes, &err)) {
        *failure(message) = err;
        return;
    }
    memset(&found.samples[found.count], 0, sizeof *found.samples);
    found.samples[found.count++].message = message;
}

/* The line that begins here, without its end; where the next one begins goes to `next`. */
static const char *line_end(const char *at, const char *end, const char **next) {
    const char *stop = at;
    while (stop < end && *stop != '\n') {
        stop++;
    }
    *next = stop < end ? stop + 1 : end;
    return stop > at && stop[-1] == '\r' ? stop - 1 : stop;
}

static void read_message(const exports_floorhand_plugin_decoding_message_t *message, uint32_t index) {
    const char *at = (const char *)message->payload.ptr, *end = at + message->payload.len, *next;
    found.before = found.count;
    for (const char *byte = at; byte < end; byte++) {
        if ((*byte & 0x80) != 0) {
            bad_input(failure(index), "the message is no text of ASCII");
            return;
        }
    }
    for (size_t lines = 0; at < end; at = next) {
        const char *stop = line_end(at, end, &next);
        if (stop == at) {
            continue;
        }
        if (lines++ == MAX_LINES) {
            bad_input(failure(index), "the message has over 4095 lines: those behind are left out");
            return;
        }
        read_sample(at, stop, index);
    }
}

/* All samples look the same: they are one batch. */
static exports_floorhand_plugin_decoding_list_batch_t batches(void) {
    exports_floorhand_plugin_decoding_batch_t *batch = malloc(sizeof *batch);
    floorhand_plugin_types_tensor_t *tensor = malloc(sizeof *tensor);
    uint32_t *shape = malloc(3 * sizeof *shape);
    if (batch == NULL || tensor == NULL || shape == NULL) {
        abort();
    }
    shape[0] = (uint32_t)found.count;
    shape[1] = 1;
    shape[2] = (uint32_t)config.columns;
    tensor->datatype = FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32;
    tensor->shape = (decoder_list_u32_t){shape, 3};
    tensor->data = (decoder_list_u8_t){found.values, found.count * config.columns * sizeof(float)};
    batch->samples = (exports_floorhand_plugin_decoding_list_sample_t){found.samples, found.count};
    batch->tensors = (exports_floorhand_plugin_decoding_list_tensor_t){tensor, 1};
    return (exports_floorhand_plugin_decoding_list_batch_t){batch, 1};
}

bool exports_floorhand_plugin_decoding_decode(exports_floorhand_plugin_decoding_list_message_t *messages,
                                              exports_floorhand_plugin_decoding_decoded_t *ret, error *err) {
    memset(&found, 0, sizeof found);
    memset(ret, 0, sizeof *ret);
    for (size_t index = 0; config.done && index < messages->len; index++) {
        read_message(&messages->ptr[index], (uint32_t)index);
    }
    exports_floorhand_plugin_decoding_list_message_free(messages);
    if (!config.done) {
        return refuse(err, FLOORHAND_PLUGIN_TYPES_ERROR_NOT_READY, "configure has to be called first");
    }
    if (found.count > 0) {
        ret->batches = batches();
    } else {
        free(found.samples);
        free(found.values);
    }
    ret->failures = (exports_floorhand_plugin_decoding_list_failure_t){found.failures, found.failed};
    return true;
}

bool exports_floorhand_plugin_decoding_snapshot(decoder_list_u8_t *ret, error *err) {
    /* There is no state. */
    *ret = (decoder_list_u8_t){NULL, 0};
    return true;
}

bool exports_floorhand_plugin_decoding_restore(decoder_list_u8_t *state, error *err) {
    bool empty = state->len == 0;
    decoder_list_u8_free(state);
    return empty || bad_config(err, "there is no state to restore");
}
