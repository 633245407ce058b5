/* JSON as it stands in its text: checked once as a whole, then looked at member by member.
 *
 * Nothing is built from it, so a value costs no memory until a string of it is wanted. Configurations are small; that every
 * look walks over what stands before doesn't matter. */

#include "floorhand.h"
#include <stdlib.h>

/* Values inside of values: more than a person nests, little enough for the stack. */
#define MAX_DEPTH 32

static const char *blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) {
        at++;
    }
    return at;
}

static int hexadecimal(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    char lower = (char)(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The unit behind \u; -1 if it isn't one. */
static int32_t unit(const char *at, const char *end) {
    if (end - at < 4) {
        return -1;
    }
    int32_t value = 0;
    for (int index = 0; index < 4; index++) {
        int digit = hexadecimal(at[index]);
        if (digit < 0) {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

/* Each of these gives where the value ends, or NULL if it is none. */
static const char *skip_value(const char *at, const char *end, int depth);

static const char *skip_string(const char *at, const char *end) {
    if (at == end || *at != '"') {
        return NULL;
    }
    for (at++; at < end && *at != '"'; at++) {
        if ((unsigned char)*at < 0x20) {
            return NULL;
        }
        if (*at != '\\') {
            continue;
        }
        if (++at == end) {
            return NULL;
        }
        if (*at == 'u') {
            if (unit(at + 1, end) < 0) {
                return NULL;
            }
            at += 4;
            continue;
        }
        bool escape = false;
        for (const char *known = "\"\\/bfnrt"; *known != 0; known++) {
            escape = escape || *at == *known;
        }
        if (!escape) {
            return NULL;
        }
    }
    return at < end ? at + 1 : NULL;
}

static const char *skip_number(const char *at, const char *end) {
    const char *first = at < end && *at == '-' ? at + 1 : at;
    double ignored;
    /* Stricter than the reader of numbers: a digit at either side of the point, and no zero in front. */
    if (first == end || *first < '0' || *first > '9' || (*first == '0' && first + 1 < end && first[1] >= '0' && first[1] <= '9')) {
        return NULL;
    }
    const char *behind = floorhand_number(at, end, &ignored);
    return behind != NULL && behind[-1] == '.' ? NULL : behind;
}

static const char *skip_word(const char *at, const char *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

/* Behind a comma or the bracket that opens, to what comes next; NULL if neither a comma nor the end stands there. */
static const char *skip_items(const char *at, const char *end, int depth, bool object) {
    char close = object ? '}' : ']';
    at = blanks(at + 1, end);
    if (at < end && *at == close) {
        return at + 1;
    }
    for (;;) {
        if (object) {
            at = skip_string(at, end);
            at = at == NULL ? NULL : blanks(at, end);
            if (at == NULL || at == end || *at != ':') {
                return NULL;
            }
            at = blanks(at + 1, end);
        }
        at = skip_value(at, end, depth + 1);
        at = at == NULL ? NULL : blanks(at, end);
        if (at == NULL || at == end || (*at != ',' && *at != close)) {
            return NULL;
        }
        if (*at == close) {
            return at + 1;
        }
        at = blanks(at + 1, end);
    }
}

static const char *skip_value(const char *at, const char *end, int depth) {
    if (at == end || depth > MAX_DEPTH) {
        return NULL;
    }
    switch (*at) {
    case '{':
        return skip_items(at, end, depth, true);
    case '[':
        return skip_items(at, end, depth, false);
    case '"':
        return skip_string(at, end);
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

bool floorhand_json_parse(const char *text, size_t length, floorhand_json *value) {
    const char *end = text + length;
    value->start = blanks(text, end);
    value->end = skip_value(value->start, end, 0);
    return value->end != NULL && blanks(value->end, end) == end;
}

bool floorhand_json_is_object(floorhand_json value) { return value.start < value.end && *value.start == '{'; }
bool floorhand_json_is_array(floorhand_json value) { return value.start < value.end && *value.start == '['; }

/* Steps through an object or an array that has been checked. */
typedef struct walk {
    const char *at;
    const char *end;
} walk;

static walk begin(floorhand_json value) { return (walk){value.start + 1, value.end - 1}; }

static bool next(walk *walk, floorhand_json *name, floorhand_json *value) {
    const char *at = blanks(walk->at, walk->end);
    if (at < walk->end && *at == ',') {
        at = blanks(at + 1, walk->end);
    }
    if (at >= walk->end) {
        return false;
    }
    if (name != NULL) {
        *name = (floorhand_json){at, skip_string(at, walk->end)};
        at = blanks(blanks(name->end, walk->end) + 1, walk->end);
    }
    *value = (floorhand_json){at, skip_value(at, walk->end, 0)};
    walk->at = value->end;
    return true;
}

bool floorhand_json_member(floorhand_json object, const char *name, floorhand_json *value) {
    floorhand_json key;
    if (!floorhand_json_is_object(object)) {
        return false;
    }
    for (walk members = begin(object); next(&members, &key, value);) {
        char *text = floorhand_json_string(key, NULL);
        bool found = strcmp(text, name) == 0;
        free(text);
        if (found) {
            return true;
        }
    }
    return false;
}

char *floorhand_json_unknown(floorhand_json object, const char *const *known) {
    floorhand_json key, value;
    if (!floorhand_json_is_object(object)) {
        return NULL;
    }
    for (walk members = begin(object); next(&members, &key, &value);) {
        char *text = floorhand_json_string(key, NULL);
        bool found = false;
        for (const char *const *name = known; *name != NULL; name++) {
            found = found || strcmp(text, *name) == 0;
        }
        if (!found) {
            return text;
        }
        free(text);
    }
    return NULL;
}

size_t floorhand_json_count(floorhand_json array) {
    floorhand_json value;
    size_t count = 0;
    if (floorhand_json_is_array(array)) {
        for (walk items = begin(array); next(&items, NULL, &value);) {
            count++;
        }
    }
    return count;
}

bool floorhand_json_item(floorhand_json array, size_t index, floorhand_json *value) {
    if (!floorhand_json_is_array(array)) {
        return false;
    }
    for (walk items = begin(array); next(&items, NULL, value);) {
        if (index-- == 0) {
            return true;
        }
    }
    return false;
}

bool floorhand_json_number(floorhand_json value, double *number) {
    if (value.start >= value.end || (*value.start != '-' && (*value.start < '0' || *value.start > '9'))) {
        return false;
    }
    return floorhand_number(value.start, value.end, number) == value.end && __builtin_isfinite(*number);
}

bool floorhand_json_integer(floorhand_json value, int64_t least, int64_t most, int64_t *number) {
    double read;
    /* Beyond this, doubles step over whole numbers. */
    const double exact = 9007199254740992.0;
    if (!floorhand_json_number(value, &read) || read > exact || read < -exact || read != __builtin_trunc(read)) {
        return false;
    }
    *number = (int64_t)read;
    return *number >= least && *number <= most;
}

bool floorhand_json_bool(floorhand_json value, bool *truth) {
    *truth = skip_word(value.start, value.end, "true") == value.end;
    return *truth || skip_word(value.start, value.end, "false") == value.end;
}

static char *put_utf8(char *to, uint32_t point) {
    if (point < 0x80) {
        *to++ = (char)point;
    } else if (point < 0x800) {
        *to++ = (char)(0xc0 | point >> 6);
        *to++ = (char)(0x80 | (point & 0x3f));
    } else {
        if (point < 0x10000) {
            *to++ = (char)(0xe0 | point >> 12);
        } else {
            *to++ = (char)(0xf0 | point >> 18);
            *to++ = (char)(0x80 | (point >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (point >> 6 & 0x3f));
        *to++ = (char)(0x80 | (point & 0x3f));
    }
    return to;
}

/* The character behind \u, of two units where there are two; half a pair is what can't be shown. */
static const char *take_escaped(const char *at, const char *end, uint32_t *point) {
    *point = (uint32_t)unit(at, end);
    at += 4;
    if (*point >= 0xd800 && *point < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        int32_t low = unit(at + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            *point = 0x10000 + ((*point - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
            return at + 6;
        }
    }
    if (*point >= 0xd800 && *point < 0xe000) {
        *point = 0xfffd;
    }
    return at;
}

char *floorhand_json_string(floorhand_json value, size_t *length) {
    if (value.start >= value.end || *value.start != '"') {
        return NULL;
    }
    /* What is escaped never gets longer. */
    char *text = malloc((size_t)(value.end - value.start));
    if (text == NULL) {
        abort();
    }
    char *to = text;
    const char *end = value.end - 1;
    for (const char *at = value.start + 1; at < end;) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        static const char escapes[] = "b\bf\fn\nr\rt\t";
        char escape = at[1];
        at += 2;
        if (escape == 'u') {
            uint32_t point;
            at = take_escaped(at, end, &point);
            to = put_utf8(to, point);
            continue;
        }
        for (const char *pair = escapes; *pair != 0; pair += 2) {
            if (*pair == escape) {
                escape = pair[1];
                break;
            }
        }
        *to++ = escape;
    }
    *to = 0;
    if (length != NULL) {
        *length = (size_t)(to - text);
    }
    return text;
}
