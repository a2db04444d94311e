// Products of float32 matrices for processors with AVX-512.
//
// Tiles of 10 by 32 sums stay in registers while rows of B pass by: two loads of B and ten numbers of A for twenty
// multiplications of sixteen. B is copied into strips of 32 columns where its columns lie together in memory, and
// where enough rows of A use the copy. Each sum is taken in one order, so that results do not depend on threads.

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>

#define UNROLL _Pragma("GCC unroll 16")

namespace pyrovae {

static const int64_t BLOCK = 512;           // rows of B that are copied at a time: 64 KiB
static const int64_t ROWS_FOR_COPY = 64;    // rows of A from which a copy pays where the rows of B lie together
static const int64_t SEVERAL = 300 * 1000;  // multiplications from which the start of several threads pays

static inline __mmask16 lanes(int64_t count) {
  return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
}

// R rows and 16 V columns of C = bias + A B, or of C + A B; of the last 16 columns, those in the mask.
template <int R, int V>
static inline void tile(int64_t K, const float* a, int64_t am, int64_t ak, const float* b, int64_t bk, float* c,
                        int64_t cm, const float* bias, bool add, __mmask16 last) {
  __m512 sum[R][V], row[V];
  UNROLL for (int v = 0; v < V; ++v) {
    __mmask16 mask = v == V - 1 ? last : 0xffff;
    __m512 start = bias && !add ? _mm512_maskz_loadu_ps(mask, bias + 16 * v) : _mm512_setzero_ps();
    UNROLL for (int r = 0; r < R; ++r) sum[r][v] = add ? _mm512_maskz_loadu_ps(mask, c + r * cm + 16 * v) : start;
  }
  for (int64_t k = 0; k < K; ++k) {
    UNROLL for (int v = 0; v < V; ++v)
      row[v] = _mm512_maskz_loadu_ps(v == V - 1 ? last : 0xffff, b + k * bk + 16 * v);
    UNROLL for (int r = 0; r < R; ++r) {
      __m512 x = _mm512_set1_ps(a[r * am + k * ak]);
      UNROLL for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(x, row[v], sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; ++r)
    UNROLL for (int v = 0; v < V; ++v)
      _mm512_mask_storeu_ps(c + r * cm + 16 * v, v == V - 1 ? last : 0xffff, sum[r][v]);
}

// All rows of 16 V columns.
template <int V>
static void strip(int64_t M, int64_t K, const float* a, int64_t am, int64_t ak, const float* b, int64_t bk, float* c,
                  int64_t cm, const float* bias, bool add, __mmask16 last) {
  int64_t m = 0;
  for (; m + 10 <= M; m += 10) tile<10, V>(K, a + m * am, am, ak, b, bk, c + m * cm, cm, bias, add, last);
  for (; m + 4 <= M; m += 4) tile<4, V>(K, a + m * am, am, ak, b, bk, c + m * cm, cm, bias, add, last);
  for (; m < M; ++m) tile<1, V>(K, a + m * am, am, ak, b, bk, c + m * cm, cm, bias, add, last);
}

// Sixteen rows of sixteen numbers become sixteen columns.
static inline void transpose(__m512* x) {
  __m512 y[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_shuffle_ps(y[i], y[i + 2], 0x44);
    x[i + 1] = _mm512_shuffle_ps(y[i], y[i + 2], 0xee);
    x[i + 2] = _mm512_shuffle_ps(y[i + 1], y[i + 3], 0x44);
    x[i + 3] = _mm512_shuffle_ps(y[i + 1], y[i + 3], 0xee);
  }
  UNROLL for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_shuffle_f32x4(x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_shuffle_f32x4(x[i], x[i + 4], 0xdd);
    y[i + 8] = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0x88);
    y[i + 12] = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0xdd);
  }
  UNROLL for (int i = 0; i < 8; ++i) {
    x[i] = _mm512_shuffle_f32x4(y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_f32x4(y[i], y[i + 8], 0xdd);
  }
}

// Copy N of 16 V columns, and zeros beside them; element k of column n goes to 16 V k + n.
template <int V>
static void copy(int64_t K, int64_t N, const float* b, int64_t bk, int64_t bn, float* copied) {
  for (int64_t n = 0; n < 16 * V; n += 16) {
    if (bn == 1) {
      for (int64_t k = 0; k < K; ++k)
        _mm512_storeu_ps(copied + 16 * V * k + n, _mm512_maskz_loadu_ps(lanes(N - n), b + k * bk + n));
      continue;
    }
    for (int64_t k = 0; k < K; k += 16) {
      __m512 x[16];
      UNROLL for (int i = 0; i < 16; ++i)
        x[i] = n + i < N ? _mm512_maskz_loadu_ps(lanes(K - k), b + (n + i) * bn + k) : _mm512_setzero_ps();
      transpose(x);
      UNROLL for (int i = 0; i < 16; ++i)
        if (k + i < K) _mm512_storeu_ps(copied + 16 * V * (k + i) + n, x[i]);
    }
  }
}

// N of 16 V columns.
template <int V>
static void columns(bool copies, int64_t M, int64_t N, int64_t K, const float* a, int64_t am, int64_t ak,
                    const float* b, int64_t bk, int64_t bn, const float* bias, float* c, int64_t cm) {
  __mmask16 last = lanes(N - 16 * (V - 1));
  if (!copies) return strip<V>(M, K, a, am, ak, b, bk, c, cm, bias, false, last);
  alignas(64) float copied[16 * V * BLOCK];
  int64_t k = 0;
  do {
    int64_t count = std::min(BLOCK, K - k);
    copy<V>(count, N, b + k * bk, bk, bn, copied);
    strip<V>(M, count, a + k * ak, am, ak, copied, 16 * V, c, cm, bias, k > 0, last);
    k += BLOCK;
  } while (k < K);
}

}  // namespace pyrovae

// C[g] = A[g] B[g] + bias, G times. A has any strides, B a stride of 1 in one direction; C is contiguous.
extern "C" void pyrovae_product(int64_t G, int64_t M, int64_t N, int64_t K, const float* a, int64_t ag, int64_t am,
                                int64_t ak, const float* b, int64_t bg, int64_t bk, int64_t bn, const float* bias,
                                float* c) {
  using namespace pyrovae;
  bool several = G * M * N * K > SEVERAL, copies = bn != 1 || M >= ROWS_FOR_COPY;
  int64_t strips = (N + 31) / 32, rows = M;
  if (several) {  // enough parts for all threads, of whole tiles; each part copies anew
    int64_t wanted = std::max<int64_t>(1, (copies ? 1 : 4) * omp_get_max_threads() / (G * strips));
    rows = (M + 10 * wanted - 1) / (10 * wanted) * 10;
  }
  int64_t parts = (M + rows - 1) / rows;
#pragma omp parallel for collapse(3) if (several)
  for (int64_t g = 0; g < G; ++g)
    for (int64_t p = 0; p < parts; ++p)
      for (int64_t s = 0; s < strips; ++s) {
        int64_t m = p * rows, n = 32 * s, width = std::min<int64_t>(32, N - n);
        (width > 16 ? columns<2> : columns<1>)(copies, std::min(rows, M - m), width, K, a + g * ag + m * am, am, ak,
                                               b + g * bg + n * bn, bk, bn, bias ? bias + n : nullptr,
                                               c + (g * M + m) * N + n, N);
      }
}
