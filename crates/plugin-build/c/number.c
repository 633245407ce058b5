/* Decimal numbers, rounded to the nearest double, ties to even.
 *
 * Up to 15 digits and small powers of ten are one exact multiplication or division. The rest is divided bit by bit in large
 * whole numbers: slow, short, and right. */

#include "floorhand.h"

/* Digits that are looked at; whether any of the others is more than zero is kept in the last one. The longest decimal that
 * lies just between two doubles has 767. */
#define DIGITS 770
/* Ten to the 1,100, and some bits more, in limbs of 32: what 770 digits that are some double are divided by at most. */
#define LIMBS 130
/* An exponent above this isn't read on: no text is long enough to make up for it. */
#define MAX_EXPONENT 100000000

typedef struct large {
    uint32_t limbs[LIMBS];
    size_t length;
} large;

static void multiply_add(large *number, uint32_t factor, uint32_t term) {
    uint64_t carry = term;
    for (size_t index = 0; index < number->length; index++) {
        carry += (uint64_t)number->limbs[index] * factor;
        number->limbs[index] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry != 0 && number->length < LIMBS) {
        number->limbs[number->length++] = (uint32_t)carry;
    }
}

static int compare(const large *one, const large *other) {
    if (one->length != other->length) {
        return one->length < other->length ? -1 : 1;
    }
    for (size_t index = one->length; index-- > 0;) {
        if (one->limbs[index] != other->limbs[index]) {
            return one->limbs[index] < other->limbs[index] ? -1 : 1;
        }
    }
    return 0;
}

/* What is taken off is not more than what it is taken off from. */
static void subtract(large *number, const large *part) {
    uint64_t borrow = 0;
    for (size_t index = 0; index < number->length; index++) {
        uint64_t limb = (uint64_t)number->limbs[index] - (index < part->length ? part->limbs[index] : 0) - borrow;
        number->limbs[index] = (uint32_t)limb;
        borrow = limb >> 63;
    }
    while (number->length > 0 && number->limbs[number->length - 1] == 0) {
        number->length--;
    }
}

static double power_of_two(int exponent) {
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* above / below, both more than zero, where the quotient is some double. */
static double divide(large *above, large *below) {
    int exponent = 0;
    /* 1 <= above / below < 2 afterwards, times two to the exponent. */
    while (compare(above, below) < 0) {
        multiply_add(above, 2, 0);
        exponent--;
    }
    for (;;) {
        large twice = *below;
        multiply_add(&twice, 2, 0);
        if (compare(above, &twice) < 0) {
            break;
        }
        *below = twice;
        exponent++;
    }
    if (exponent > 1023) {
        return __builtin_inf();
    }
    /* Fewer bits below the smallest normal number. */
    int bits = exponent >= -1022 ? 53 : 53 - (-1022 - exponent);
    if (bits < 0) {
        return 0;
    }
    uint64_t quotient = 0;
    for (int bit = 0; bit < bits; bit++) {
        quotient <<= 1;
        if (compare(above, below) >= 0) {
            subtract(above, below);
            quotient |= 1;
        }
        multiply_add(above, 2, 0);
    }
    int rest = compare(above, below);
    if (rest > 0 || (rest == 0 && (quotient & 1) != 0)) {
        quotient++;
    }
    /* Exact: at most 53 bits, and in two steps where one power of two has no double of its own. */
    int scale = exponent - bits + 1;
    double value = (double)quotient;
    if (scale < -1000) {
        return value * power_of_two(-1000) * power_of_two(scale + 1000);
    }
    return value * power_of_two(scale);
}

static double exact(const uint8_t *digits, size_t count, int exponent) {
    large above = {.length = 0}, below = {.limbs = {1}, .length = 1};
    for (size_t index = 0; index < count; index++) {
        multiply_add(&above, 10, digits[index]);
    }
    for (; exponent > 0; exponent--) {
        multiply_add(&above, 10, 0);
    }
    for (; exponent < 0; exponent++) {
        multiply_add(&below, 10, 0);
    }
    return divide(&above, &below);
}

/* The digits, most significant first and without zeros in front, times ten to the exponent. */
static double value_of(const uint8_t *digits, size_t count, int exponent) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    if (count == 0 || exponent + (int)count < -330) {
        return 0;
    }
    if (exponent + (int)count > 310) {
        return __builtin_inf();
    }
    if (count > 15 || exponent > 22 || exponent < -22) {
        return exact(digits, count, exponent);
    }
    uint64_t whole = 0;
    for (size_t index = 0; index < count; index++) {
        whole = whole * 10 + digits[index];
    }
    return exponent < 0 ? (double)whole / powers[-exponent] : (double)whole * powers[exponent];
}

typedef struct decimal {
    uint8_t digits[DIGITS];
    size_t count;
    int exponent;
    bool any;
} decimal;

static void take_digit(decimal *number, uint8_t digit, bool fraction) {
    number->any = true;
    if (number->count == DIGITS) {
        number->digits[DIGITS - 1] |= digit != 0;
        number->exponent += fraction ? 0 : 1;
        return;
    }
    if (number->count > 0 || digit > 0) {
        number->digits[number->count++] = digit;
    }
    number->exponent -= fraction ? 1 : 0;
}

static bool digit_at(const char *text, const char *end) { return text < end && *text >= '0' && *text <= '9'; }

const char *floorhand_number(const char *text, const char *end, double *number) {
    decimal read = {.count = 0};
    bool negative = text < end && *text == '-';
    text += negative || (text < end && *text == '+') ? 1 : 0;
    for (; digit_at(text, end); text++) {
        take_digit(&read, (uint8_t)(*text - '0'), false);
    }
    if (text < end && *text == '.') {
        for (text++; digit_at(text, end); text++) {
            take_digit(&read, (uint8_t)(*text - '0'), true);
        }
    }
    if (!read.any) {
        return NULL;
    }
    const char *power = text + 1;
    if (text < end && (*text == 'e' || *text == 'E')) {
        bool down = power < end && *power == '-';
        power += down || (power < end && *power == '+') ? 1 : 0;
        int exponent = 0;
        for (; digit_at(power, end); power++, text = power) {
            exponent = exponent > MAX_EXPONENT ? exponent : exponent * 10 + (*power - '0');
        }
        read.exponent += down ? -exponent : exponent;
    }
    double value = value_of(read.digits, read.count, read.exponent);
    *number = negative ? -value : value;
    return text;
}
