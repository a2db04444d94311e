"""Operators that compute element by element, as C expressions of their operands."""

from __future__ import annotations

PREAMBLE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__)
__attribute__((simd("notinbranch"))) double exp(double);
__attribute__((simd("notinbranch"))) double log(double);
#endif
static inline double square(double x) { return x * x; }
static inline double cube(double x) { return x * x * x; }
static inline double smaller(double x, double y) { return x < y || x != x ? x : y; }
static inline double larger(double x, double y) { return x > y || x != x ? x : y; }
static inline double signum(double x) { return (x > 0) - (x < 0); }
static inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static inline double modulo(double x, double y) {
  double r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
static inline double inside(double i, int64_t n, int *outside) {
  if (i < 0) i += n;
  if (i >= 0 && i < n) return i;
  *outside = 1;
  return 0;
}
static inline double log_gamma(double x) { int sign; return lgamma_r(x, &sign); }
static double digamma(double x) {
  double shift = 0.0;
  if (x == 0.0) return copysign(INFINITY, -x);
  if (x < 0.0) {
    if (x == floor(x)) return NAN;
    return digamma(1.0 - x) - M_PI / tan(M_PI * x);
  }
  while (x < 10.0) { shift -= 1.0 / x; x += 1.0; }
  const double y = 1.0 / (x * x);
  const double series = y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y * (1.0 / 132
      - y * (691.0 / 32760 - y / 12))))));
  return shift + log(x) - 0.5 / x - series;
}
static int cholesky(int64_t n, double *restrict l) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t k = 0; k < j; ++k) {
      const double f = l[j * n + k];
      l[j * n + j] -= f * f;
    }
    if (!(l[j * n + j] > 0)) {
      for (int64_t k = 0; k < n * n; ++k) l[k] = NAN; /* where torch raises */
      return (int)(j + 1);
    }
    const double d = l[j * n + j] = sqrt(l[j * n + j]);
    for (int64_t i = j + 1; i < n; ++i) {
      double sum = 0.0;
#pragma omp simd reduction(+:sum)
      for (int64_t k = 0; k < j; ++k) sum += l[i * n + k] * l[j * n + k];
      l[i * n + j] = (l[i * n + j] - sum) / d;
      l[j * n + i] = 0.0;
    }
  }
  return 0;
}
/* x (n, m) := a^-1 x for a triangular a (n, n) of given strides */
static void solve(
    int64_t n, int64_t m, const double *a, int64_t s, int64_t t, int upper, int unit, double *restrict x) {
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = upper ? n - 1 - step : step;
    for (int64_t k = upper ? i + 1 : 0; k < (upper ? n : i); ++k) {
      const double f = a[i * s + k * t];
#pragma omp simd
      for (int64_t j = 0; j < m; ++j) x[i * m + j] -= f * x[k * m + j];
    }
    if (!unit) {
      const double d = a[i * s + i * t];
#pragma omp simd
      for (int64_t j = 0; j < m; ++j) x[i * m + j] /= d;
    }
  }
}
"""
"""What every function needs; C99."""

PLAIN = (
    "exp", "log", "log1p", "expm1", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh",
    "asinh", "acosh", "atanh", "erf", "erfc", "floor", "ceil", "trunc", "log2", "log10", "exp2", "digamma", "sigmoid",
    "atan2", "hypot", "fmod",
)  # fmt: skip
"""ATen's name is C's, or that of a function above."""

ELEMENTS = {name: f"{name}({{0}})" for name in PLAIN} | {
    "atan2": "atan2({0}, {1})", "hypot": "hypot({0}, {1})", "fmod": "fmod({0}, {1})",
    "abs": "fabs({0})", "neg": "(-{0})", "reciprocal": "(1.0 / {0})", "rsqrt": "(1.0 / sqrt({0}))",
    "square": "square({0})", "sign": "signum({0})", "sgn": "signum({0})", "relu": "larger({0}, 0.0)",
    "lgamma": "log_gamma({0})", "round": "nearbyint({0})", "isnan": "(isnan({0}) != 0)", "isinf": "(isinf({0}) != 0)",
    "add": "({0} + {1})", "sub": "({0} - {1})", "rsub": "({1} - {0})", "mul": "({0} * {1})", "div": "({0} / {1})",
    "minimum": "smaller({0}, {1})", "maximum": "larger({0}, {1})", "remainder": "modulo({0}, {1})",
    "eq": "({0} == {1})", "ne": "({0} != {1})", "lt": "({0} < {1})", "le": "({0} <= {1})", "gt": "({0} > {1})",
    "ge": "({0} >= {1})", "where": "({0} ? {1} : {2})", "logical_not": "({0} == 0)",
    "logical_and": "(({0} != 0) & ({1} != 0))", "logical_or": "(({0} != 0) | ({1} != 0))",
    "logical_xor": "(({0} != 0) ^ ({1} != 0))", "addcmul": "({0} + {1} * {2})", "addcdiv": "({0} + {1} / {2})",
    "pow": "pow({0}, {1})",
}  # fmt: skip
"""The expression of an element, of those of its operands."""

OF_TRUTH = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor",
            "bitwise_not": "logical_not"}  # fmt: skip
"""Operators that are logical on bool, and otherwise not written."""

POWERS = {"0.0": "1.0", "1.0": "{0}", "2.0": "square({0})", "3.0": "cube({0})", "0.5": "sqrt({0})",
          "(-1.0)": "(1.0 / {0})", "(-2.0)": "(1.0 / square({0}))", "(-0.5)": "(1.0 / sqrt({0}))"}  # fmt: skip
"""Powers with a better expression than `pow`."""
