/* Smooths every column of a tensor: each value moves a part of the way from the last result to the new value.
 *
 * What is handed in belongs to the plugin, which frees it; what is handed out is freed by the bindings. */

#include "floorhand.h"
#include "processor.h"
#include <math.h>
#include <stdlib.h>

typedef exports_floorhand_plugin_processing_error_t error;
typedef floorhand_plugin_types_tensor_t tensor;

/* Of the snapshot's format. Count it up when the format changes. */
#define STATE_VERSION 1
#define MAX_FIELDS 256
#define MAX_KEY_BYTES 256
/* Of the series in a snapshot. */
#define SERIES_BYTES (4 + 4 + MAX_KEY_BYTES)
/* Samples of a call: as many as there may be have room in the memory. */
#define MAX_SAMPLES 1024

/* The configuration. An instance is configured once and never in two calls at a time. */
static struct {
    bool done;
    char *input;
    size_t columns;
    char *fields[MAX_FIELDS];
    float factor;
} config;

/* The last results; none before the first sample. */
static bool started;
static float last[MAX_FIELDS];

/* The series that this instance is about: that of its first sample's key. Where a source has several machines, the values of
 * one have nothing to do with those of another: a plugin that is to take them all keeps a state for each key. */
static struct {
    bool begun;
    bool has_key;
    size_t length;
    uint8_t key[MAX_KEY_BYTES];
} series;

static bool is_ours(const floorhand_plugin_types_context_t *sample) {
    if (!series.begun) {
        return !sample->key.is_some || sample->key.val.len <= MAX_KEY_BYTES;
    }
    bool has_key = sample->key.is_some;
    return has_key == series.has_key && (!has_key || (sample->key.val.len == series.length &&
                                                      memcmp(sample->key.val.ptr, series.key, series.length) == 0));
}

static void begin_series(const floorhand_plugin_types_context_t *sample) {
    if (series.begun) {
        return;
    }
    series.begun = true;
    series.has_key = sample->key.is_some;
    series.length = series.has_key ? sample->key.val.len : 0;
    memcpy(series.key, sample->key.val.ptr, series.length);
}

/* Fills in an error, and gives the false that the functions below answer with. The text is handed over. */
static bool refuse(error *to, uint8_t tag, char *text) {
    to->tag = tag;
    to->val.bad_input = (processor_string_t){(uint8_t *)text, strlen(text)};
    return false;
}

static bool bad_config(error *to, char *text) { return refuse(to, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_CONFIG, text); }

static bool read_config(floorhand_json json, error *err) {
    static const char *const known[] = {"input", "fields", "factor", NULL};
    floorhand_json value, item;
    double factor;
    char *unknown = floorhand_json_unknown(json, known);
    if (unknown != NULL) {
        return bad_config(err, floorhand_join(NULL, "unknown key ", unknown, ": input, fields, factor", NULL));
    }
    if (!floorhand_json_member(json, "input", &value) || (config.input = floorhand_json_string(value, NULL)) == NULL) {
        return bad_config(err, floorhand_join(NULL, "input has to be a tensor's name", NULL));
    }
    if (!floorhand_json_member(json, "factor", &value) || !floorhand_json_number(value, &factor) || factor < 0.001 ||
        factor > 1) {
        return bad_config(err, floorhand_join(NULL, "factor has to be a number from 0.001 to 1", NULL));
    }
    config.factor = (float)factor;
    size_t columns = floorhand_json_member(json, "fields", &value) ? floorhand_json_count(value) : 0;
    if (columns < 1 || columns > MAX_FIELDS) {
        return bad_config(err, floorhand_join(NULL, "fields has to have 1 to 256 names", NULL));
    }
    for (size_t column = 0; column < columns; column++) {
        floorhand_json_item(value, column, &item);
        config.fields[column] = floorhand_json_string(item, NULL);
        if (config.fields[column] == NULL) {
            return bad_config(err, floorhand_join(NULL, "fields has an item that is no name", NULL));
        }
    }
    config.columns = columns;
    return true;
}

/* The one spec of inputs and outputs, as a list of its own. */
static exports_floorhand_plugin_processing_list_tensor_spec_t specs(void) {
    floorhand_plugin_types_tensor_spec_t *spec = calloc(1, sizeof *spec);
    int32_t *shape = malloc(2 * sizeof *shape);
    floorhand_plugin_types_field_t *fields = calloc(config.columns, sizeof *fields);
    if (spec == NULL || shape == NULL || fields == NULL) {
        abort();
    }
    shape[0] = 1;
    shape[1] = (int32_t)config.columns;
    for (size_t column = 0; column < config.columns; column++) {
        processor_string_dup(&fields[column].name, config.fields[column]);
    }
    processor_string_dup(&spec->name, config.input);
    spec->datatype = FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32;
    spec->shape = (processor_list_s32_t){shape, 2};
    spec->fields = (floorhand_plugin_types_list_field_t){fields, config.columns};
    return (exports_floorhand_plugin_processing_list_tensor_spec_t){spec, 1};
}

bool exports_floorhand_plugin_processing_configure(processor_string_t *text,
                                                   exports_floorhand_plugin_processing_list_asset_t *assets,
                                                   exports_floorhand_plugin_processing_list_tensor_spec_t *given,
                                                   exports_floorhand_plugin_processing_signature_t *ret, error *err) {
    floorhand_json json;
    bool read = floorhand_json_parse((const char *)text->ptr, text->len, &json) && floorhand_json_is_object(json);
    bool good = false;
    if (config.done) {
        bad_config(err, floorhand_join(NULL, "this instance is configured already", NULL));
    } else if (!read) {
        bad_config(err, floorhand_join(NULL, "the configuration is no JSON object", NULL));
    } else {
        good = config.done = read_config(json, err);
    }
    exports_floorhand_plugin_processing_list_asset_free(assets);
    exports_floorhand_plugin_processing_list_tensor_spec_free(given);
    processor_string_free(text);
    if (good) {
        ret->inputs = specs();
        ret->outputs = specs();
        ret->state_bytes = (uint32_t)(8 + SERIES_BYTES + 4 * config.columns);
        ret->max_samples = MAX_SAMPLES;
    }
    return good;
}

/* One sample, in place; what is refused changes nothing. */
static bool smooth(const floorhand_plugin_types_context_t *sample, uint8_t *values, error *err) {
    if (!is_ours(sample)) {
        char *text = floorhand_join(NULL, "this is a series of another key, and there is room for one", NULL);
        return refuse(err, FLOORHAND_PLUGIN_TYPES_ERROR_EXHAUSTED, text);
    }
    /* Samples before this one may be missing: what is built of neighbours begins anew. */
    started = started && !sample->gap;
    for (size_t column = 0; column < config.columns; column++) {
        float value = floorhand_f32(values, column);
        float result = started ? last[column] + config.factor * (value - last[column]) : value;
        /* One result without a number would spoil all that come after it. */
        if (!isfinite(result)) {
            char *text = floorhand_join(NULL, config.fields[column], " is no number that can be smoothed", NULL);
            return refuse(err, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_INPUT, text);
        }
    }
    for (size_t column = 0; column < config.columns; column++) {
        float value = floorhand_f32(values, column);
        last[column] = started ? last[column] + config.factor * (value - last[column]) : value;
        floorhand_set_f32(values, column, last[column]);
    }
    started = true;
    begin_series(sample);
    return true;
}

/* Whether the input is what the signature says, for so many samples. */
static bool check(const exports_floorhand_plugin_processing_list_tensor_t *inputs, size_t samples, error *err) {
    const tensor *input = inputs->ptr;
    if (config.done && inputs->len == 1 && input->datatype == FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32 &&
        input->shape.len == 3 && input->shape.ptr[0] == samples && input->shape.ptr[1] == 1 &&
        input->shape.ptr[2] == config.columns && input->data.len == samples * config.columns * sizeof(float)) {
        return true;
    }
    char *text = floorhand_join(NULL, "the input isn't what the signature says", NULL);
    return refuse(err, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_INPUT, text);
}

bool exports_floorhand_plugin_processing_process(exports_floorhand_plugin_processing_list_context_t *samples,
                                                 exports_floorhand_plugin_processing_list_tensor_t *inputs,
                                                 exports_floorhand_plugin_processing_outcome_t *ret, error *err) {
    size_t count = samples->len, answered = 0, refused = 0;
    if (!check(inputs, count, err)) {
        exports_floorhand_plugin_processing_list_context_free(samples);
        exports_floorhand_plugin_processing_list_tensor_free(inputs);
        return false;
    }
    /* The answer is written over the input, and the input is handed out as the answer. */
    tensor *answer = inputs->ptr;
    size_t bytes = config.columns * sizeof(float);
    uint32_t *places = malloc(count * sizeof *places);
    floorhand_plugin_types_refusal_t *refusals = malloc(count * sizeof *refusals);
    if (places == NULL || refusals == NULL) {
        abort();
    }
    for (size_t sample = 0; sample < count; sample++) {
        uint8_t *values = answer->data.ptr + sample * bytes;
        if (smooth(&samples->ptr[sample], values, &refusals[refused].error)) {
            memmove(answer->data.ptr + answered * bytes, values, bytes);
            places[answered++] = (uint32_t)sample;
        } else {
            refusals[refused++].index = (uint32_t)sample;
        }
    }
    exports_floorhand_plugin_processing_list_context_free(samples);
    memset(ret, 0, sizeof *ret);
    ret->refusals = (exports_floorhand_plugin_processing_list_refusal_t){refusals, refused};
    if (refused == 0) {
        free(refusals);
    }
    if (answered == 0) {
        free(places);
        exports_floorhand_plugin_processing_list_tensor_free(inputs);
        return true;
    }
    answer->shape.ptr[0] = answered;
    answer->data.len = answered * bytes;
    exports_floorhand_plugin_processing_answer_t *answers = malloc(sizeof *answers);
    if (answers == NULL) {
        abort();
    }
    answers->indices = (processor_list_u32_t){places, answered};
    answers->tensors = *inputs;
    ret->answers = (exports_floorhand_plugin_processing_list_answer_t){answers, 1};
    return true;
}

bool exports_floorhand_plugin_processing_snapshot(processor_list_u8_t *ret, error *err) {
    size_t columns = started ? config.columns : 0;
    floorhand_writer writer = {.size = 8 + SERIES_BYTES + 4 * columns};
    writer.bytes = malloc(writer.size);
    if (writer.bytes == NULL) {
        abort();
    }
    floorhand_write_u32(&writer, STATE_VERSION);
    floorhand_write_u32(&writer, series.begun + series.has_key);
    floorhand_write_bytes(&writer, series.key, series.length);
    floorhand_write_u32(&writer, (uint32_t)columns);
    for (size_t column = 0; column < columns; column++) {
        floorhand_write_f32(&writer, last[column]);
    }
    *ret = (processor_list_u8_t){writer.bytes, writer.length};
    return true;
}

bool exports_floorhand_plugin_processing_restore(processor_list_u8_t *state, error *err) {
    floorhand_reader reader = {.bytes = state->ptr, .length = state->len};
    uint32_t version = floorhand_read_u32(&reader);
    uint32_t begun = floorhand_read_u32(&reader);
    series.length = floorhand_read_bytes(&reader, series.key, MAX_KEY_BYTES);
    series.begun = begun > 0;
    series.has_key = begun > 1;
    uint32_t columns = floorhand_read_u32(&reader);
    bool fits = version == STATE_VERSION && begun <= 2 && (columns == 0 || columns == config.columns) &&
                reader.length == columns * sizeof(float) && !reader.failed;
    for (size_t column = 0; fits && column < columns; column++) {
        last[column] = floorhand_read_f32(&reader);
    }
    processor_list_u8_free(state);
    if (!fits) {
        return bad_config(err, floorhand_join(NULL, "the state is none of this configuration", NULL));
    }
    started = columns > 0;
    return true;
}
