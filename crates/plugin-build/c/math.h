/* What WebAssembly computes by an instruction of its own, so that it is the same bits everywhere. Sines and logarithms are
 * not among it: bring their source with your plugin. */
#ifndef FLOORHAND_MATH_H
#define FLOORHAND_MATH_H

#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)

static inline double fabs(double x) { return __builtin_fabs(x); }
static inline double sqrt(double x) { return __builtin_sqrt(x); }
static inline double floor(double x) { return __builtin_floor(x); }
static inline double ceil(double x) { return __builtin_ceil(x); }
static inline double trunc(double x) { return __builtin_trunc(x); }
static inline double rint(double x) { return __builtin_rint(x); }
static inline double copysign(double x, double sign) { return __builtin_copysign(x, sign); }
static inline float fabsf(float x) { return __builtin_fabsf(x); }
static inline float sqrtf(float x) { return __builtin_sqrtf(x); }
static inline float floorf(float x) { return __builtin_floorf(x); }
static inline float ceilf(float x) { return __builtin_ceilf(x); }
static inline float truncf(float x) { return __builtin_truncf(x); }
static inline float rintf(float x) { return __builtin_rintf(x); }
static inline float copysignf(float x, float sign) { return __builtin_copysignf(x, sign); }

/* The other one where one is NaN, as in C. */
static inline double fmin(double x, double y) { return isnan(x) ? y : isnan(y) || x < y ? x : y; }
static inline double fmax(double x, double y) { return isnan(x) ? y : isnan(y) || x > y ? x : y; }

#endif
