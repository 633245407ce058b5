/* Raises an alarm when a column stays above its limit for some samples in a row, and says when it is back.
 *
 * What is handed in belongs to the plugin, which frees it; what is handed out is freed by the bindings. */

#include "floorhand.h"
#include "monitor.h"
#include <math.h>
#include <stdlib.h>

typedef exports_floorhand_plugin_monitoring_error_t error;
typedef exports_floorhand_plugin_monitoring_finding_t finding;

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
    double limit;
    int64_t samples;
} config;

/* For each column, samples in a row above the limit. */
static uint64_t above[MAX_FIELDS];

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
    to->val.bad_input = (monitor_string_t){(uint8_t *)text, strlen(text)};
    return false;
}

static bool bad_config(error *to, char *text) { return refuse(to, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_CONFIG, text); }

static bool read_config(floorhand_json json, error *err) {
    static const char *const known[] = {"input", "fields", "limit", "samples", NULL};
    floorhand_json value, item;
    char *unknown = floorhand_json_unknown(json, known);
    if (unknown != NULL) {
        return bad_config(err, floorhand_join(NULL, "unknown key ", unknown, ": input, fields, limit, samples", NULL));
    }
    if (!floorhand_json_member(json, "input", &value) || (config.input = floorhand_json_string(value, NULL)) == NULL) {
        return bad_config(err, floorhand_join(NULL, "input has to be a tensor's name", NULL));
    }
    if (!floorhand_json_member(json, "limit", &value) || !floorhand_json_number(value, &config.limit)) {
        return bad_config(err, floorhand_join(NULL, "limit has to be a number", NULL));
    }
    if (!floorhand_json_member(json, "samples", &value) ||
        !floorhand_json_integer(value, 1, 1000000, &config.samples)) {
        return bad_config(err, floorhand_join(NULL, "samples has to be a whole number from 1 to 1000000", NULL));
    }
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

/* The one tensor that is watched. */
static exports_floorhand_plugin_monitoring_list_watch_t watches(void) {
    exports_floorhand_plugin_monitoring_watch_t *watch = calloc(1, sizeof *watch);
    int32_t *shape = malloc(2 * sizeof *shape);
    if (watch == NULL || shape == NULL) {
        abort();
    }
    shape[0] = 1;
    shape[1] = (int32_t)config.columns;
    watch->origin = EXPORTS_FLOORHAND_PLUGIN_MONITORING_ORIGIN_INPUT;
    monitor_string_dup(&watch->spec.name, config.input);
    watch->spec.datatype = FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32;
    watch->spec.shape = (monitor_list_s32_t){shape, 2};
    return (exports_floorhand_plugin_monitoring_list_watch_t){watch, 1};
}

bool exports_floorhand_plugin_monitoring_configure(monitor_string_t *text,
                                                   exports_floorhand_plugin_monitoring_list_asset_t *assets,
                                                   exports_floorhand_plugin_monitoring_list_watch_t *given,
                                                   exports_floorhand_plugin_monitoring_subscription_t *ret,
                                                   error *err) {
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
    exports_floorhand_plugin_monitoring_list_asset_free(assets);
    exports_floorhand_plugin_monitoring_list_watch_free(given);
    monitor_string_free(text);
    if (good) {
        ret->watches = watches();
        ret->state_bytes = (uint32_t)(8 + SERIES_BYTES + 8 * config.columns);
        ret->max_samples = MAX_SAMPLES;
    }
    return good;
}

/* Memory of this size with what stood in it. */
static void *grown(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* Looks at one value; whether there is something to say of it. */
static bool look(bool gap, size_t sample, size_t column, double value, finding *found) {
    uint64_t before = above[column], limit = (uint64_t)config.samples;
    /* Samples before this one may be missing, and with them the row; an alarm lasts until a value says otherwise. */
    uint64_t row = gap && before < limit ? 0 : before;
    /* NaN is not above. */
    above[column] = value > config.limit ? row + 1 : 0;
    bool begins = above[column] == limit && before < limit;
    bool ends = above[column] == 0 && before >= limit;
    if (!begins && !ends) {
        return false;
    }
    memset(found, 0, sizeof *found);
    found->index = (uint32_t)sample;
    monitor_string_dup(&found->kind, "above-limit");
    found->severity = begins ? EXPORTS_FLOORHAND_PLUGIN_MONITORING_SEVERITY_ALARM
                             : EXPORTS_FLOORHAND_PLUGIN_MONITORING_SEVERITY_INFO;
    found->phase = begins ? EXPORTS_FLOORHAND_PLUGIN_MONITORING_PHASE_RAISED
                          : EXPORTS_FLOORHAND_PLUGIN_MONITORING_PHASE_CLEARED;
    found->watch = (monitor_option_u32_t){true, 0};
    monitor_string_dup(&found->subject, config.fields[column]);
    found->value = (monitor_option_f64_t){true, value};
    found->threshold = (monitor_option_f64_t){true, config.limit};
    monitor_string_dup(&found->unit, "");
    monitor_string_dup(&found->message, begins ? "stays above the limit" : "is not above the limit any more");
    return true;
}

bool exports_floorhand_plugin_monitoring_observe(exports_floorhand_plugin_monitoring_list_context_t *samples,
                                                 exports_floorhand_plugin_monitoring_list_tensor_t *tensors,
                                                 exports_floorhand_plugin_monitoring_report_t *ret, error *err) {
    size_t count = samples->len, values = count * config.columns, found = 0;
    const floorhand_plugin_types_tensor_t *input = tensors->ptr;
    bool fits = config.done && tensors->len == 1 && input->datatype == FLOORHAND_PLUGIN_TYPES_DATATYPE_FP32 &&
                input->shape.len == 3 && input->shape.ptr[0] == count && input->shape.ptr[1] == 1 &&
                input->shape.ptr[2] == config.columns && input->data.len == values * sizeof(float);
    finding *findings = NULL;
    floorhand_plugin_types_refusal_t *refusals = NULL;
    size_t refused = 0;
    for (size_t index = 0; fits && index < values; index++) {
        size_t sample = index / config.columns, column = index % config.columns;
        const floorhand_plugin_types_context_t *context = &samples->ptr[sample];
        if (!is_ours(context)) {
            if (column == 0) {
                refusals = grown(refusals, (refused + 1) * sizeof *refusals);
                refusals[refused].index = (uint32_t)sample;
                char *text = floorhand_join(NULL, "this is a series of another key, and there is room for one", NULL);
                refuse(&refusals[refused++].error, FLOORHAND_PLUGIN_TYPES_ERROR_EXHAUSTED, text);
            }
            continue;
        }
        begin_series(context);
        finding one;
        if (look(context->gap, sample, column, floorhand_f32(input->data.ptr, index), &one)) {
            findings = grown(findings, (found + 1) * sizeof *findings);
            findings[found++] = one;
        }
    }
    exports_floorhand_plugin_monitoring_list_context_free(samples);
    exports_floorhand_plugin_monitoring_list_tensor_free(tensors);
    if (!fits) {
        char *text = floorhand_join(NULL, "the tensor isn't what is watched", NULL);
        return refuse(err, FLOORHAND_PLUGIN_TYPES_ERROR_BAD_INPUT, text);
    }
    memset(ret, 0, sizeof *ret);
    ret->findings = (exports_floorhand_plugin_monitoring_list_finding_t){findings, found};
    ret->refusals = (exports_floorhand_plugin_monitoring_list_refusal_t){refusals, refused};
    return true;
}

bool exports_floorhand_plugin_monitoring_snapshot(monitor_list_u8_t *ret, error *err) {
    floorhand_writer writer = {.size = 8 + SERIES_BYTES + 8 * config.columns};
    writer.bytes = malloc(writer.size);
    if (writer.bytes == NULL) {
        abort();
    }
    floorhand_write_u32(&writer, STATE_VERSION);
    floorhand_write_u32(&writer, series.begun + series.has_key);
    floorhand_write_bytes(&writer, series.key, series.length);
    floorhand_write_u32(&writer, (uint32_t)config.columns);
    for (size_t column = 0; column < config.columns; column++) {
        floorhand_write_u64(&writer, above[column]);
    }
    *ret = (monitor_list_u8_t){writer.bytes, writer.length};
    return true;
}

bool exports_floorhand_plugin_monitoring_restore(monitor_list_u8_t *state, error *err) {
    floorhand_reader reader = {.bytes = state->ptr, .length = state->len};
    uint32_t version = floorhand_read_u32(&reader);
    uint32_t begun = floorhand_read_u32(&reader);
    series.length = floorhand_read_bytes(&reader, series.key, MAX_KEY_BYTES);
    series.begun = begun > 0;
    series.has_key = begun > 1;
    uint32_t columns = floorhand_read_u32(&reader);
    bool fits = version == STATE_VERSION && begun <= 2 && columns == config.columns && reader.length == columns * sizeof(uint64_t) &&
                !reader.failed;
    for (size_t column = 0; fits && column < columns; column++) {
        above[column] = floorhand_read_u64(&reader);
    }
    monitor_list_u8_free(state);
    return fits || bad_config(err, floorhand_join(NULL, "the state is none of this configuration", NULL));
}
