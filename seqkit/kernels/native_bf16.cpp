// The recurrence of one layer with its products in bf16, for processors that have instructions for them.
//
// States, gates and sums are in single precision, and so is everything that is kept. What is multiplied, weights and
// states, is rounded to bf16; the products of two numbers in bf16 are exact in single precision. A thread multiplies
// with AMX (tiles of 16 rows) where the system lets it, else with AVX512_BF16 (pairs of products in one instruction).
// A plain version of the latter builds everywhere, for tests; it is slower than single precision.
//
// Both get weights in one layout: for each pair of k, and each vector of a panel, 16 columns of two numbers each.

#include "native.cpp"

#if defined(SEQKIT_TILES)  // the instructions of AMX in software: a header of the tests
#include SEQKIT_TILES
#define HAS_TILES 1
#elif defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define HAS_TILES 1
#else
#define HAS_TILES 0
#endif

namespace {

std::atomic<bool> has_no_memory{false};
bool uses_tiles = false;

constexpr int LANES = Lanes<float>::n;
constexpr int TILE_ROWS = 16, TILE_PAIRS = 16;  // of a tile: 16 rows of 64 bytes

typedef uint16_t Bf16;
typedef uint32_t Pair;  // two numbers in bf16, the one of the smaller k in the low half

// The nearest number in bf16; of two equally near, the even one. NaN stays NaN.
inline Bf16 rounded(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, quiet_nan = bits >> 16 | 0x40;
    return Bf16((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : nearest);
}

// sum + a b of each pair: first of the larger k, then of the smaller one, each rounded once.
inline Vec<float> add_pairs(Vec<float> sum, Pair a, Vec<float> b) {
#if defined(__AVX512BF16__)
    const __m512i pair = _mm512_set1_epi32(int(a));
    return (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)pair, (__m512bh)b);
#else
    const Ints pairs = (Ints)b, pair = Ints{} + int32_t(a);
    sum += (Vec<float>)(pair & int32_t(0xffff0000)) * (Vec<float>)(pairs & int32_t(0xffff0000));
    sum += (Vec<float>)(pair << 16) * (Vec<float>)(pairs << 16);
    return sum;
#endif
}

// As `tile` of native.cpp: out[m][v] = a[m, :] . b[:, v] over pairs.
template <int M, int NV>
void tile_of_pairs(const Pair* a, int64_t stride, const Pair* b, int64_t pairs, float* out) {
    Vec<float> sum[M][NV] = {};
    for (int64_t k = 0; k < pairs; ++k, b += NV * LANES) {
        Vec<float> each[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) std::memcpy(&each[v], b + v * LANES, sizeof each[v]);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
            const Pair own = a[m * stride + k];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[m][v] = add_pairs(sum[m][v], own, each[v]);
        }
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < NV; ++v) store(out + (m * NV + v) * LANES, sum[m][v]);
}

typedef void (*PairTile)(const Pair*, int64_t, const Pair*, int64_t, float*);

template <int NV, int M = most_rows(NV)>
PairTile pair_tile(int rows) {
    if (rows == M) return tile_of_pairs<M, NV>;
    if constexpr (M > 1) return pair_tile<NV, M - 1>(rows);
    return nullptr;
}
PairTile pair_tile(int rows, int nv) {
    if (nv == 4) return pair_tile<4>(rows);
    if (nv == 3) return pair_tile<3>(rows);
    if (nv == 2) return pair_tile<2>(rows);
    return pair_tile<1>(rows);
}

#if HAS_TILES
// The tiles 0 to 3 of sums and 4 and 5 of a have as many rows as there are to multiply, 6 and 7, of b, all 16.
struct alignas(64) TileShapes {
    uint8_t palette = 1, start_row = 0, unused[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
    explicit TileShapes(int height) {
        for (int i = 0; i < 8; ++i) row_bytes[i] = 64, rows[i] = uint8_t(i < 6 ? height : TILE_ROWS);
    }
};

// The height that this thread's tiles have now; 0: none. A product takes as many cycles as its tiles have rows.
thread_local int tile_height = 0;

inline void use_tiles(int height) {
    if (height == tile_height) return;
    const TileShapes shapes(height);
    _tile_loadconfig(&shapes);
    tile_height = height;
}

// What the next tiles of b need, lines that are `apart` from each other: tiles do not make the processor look ahead.
template <int NV>
inline void fetch_pairs(const Pair* b, int64_t apart) {
    for (int row = 0; row < TILE_PAIRS; ++row)
        for (int v = 0; v < NV; ++v) __builtin_prefetch(b + row * apart + v * LANES);
}

// The rows of one tile of a, with NV of the nv vectors of b, into `sums`, where rows are `sums_apart` bytes apart.
template <int NV>
void multiply_tile(
    const Pair* a, int64_t stride, const Pair* b, int64_t pairs, int nv, float* sums, int64_t sums_apart
) {
    const int64_t apart = int64_t(nv) * LANES, a_bytes = stride * 4, b_bytes = apart * 4;
    _tile_zero(0);
    if (NV > 1) _tile_zero(1);
    for (int64_t k = 0; k < pairs; k += TILE_PAIRS, b += TILE_PAIRS * apart) {
        fetch_pairs<NV>(b + TILE_PAIRS * apart, apart);
        _tile_loadd(4, a + k, a_bytes);
        _tile_loadd(6, b, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (NV > 1) {
            _tile_loadd(7, b + LANES, b_bytes);
            _tile_dpbf16ps(1, 4, 7);
        }
    }
    _tile_stored(0, sums, sums_apart);
    if (NV > 1) _tile_stored(1, sums + LANES, sums_apart);
}

// The same for two tiles of a, one below the other: b is read once for both.
template <int NV>
void multiply_two_tiles(
    const Pair* a, int64_t stride, int height, const Pair* b, int64_t pairs, int nv, float* sums, int64_t sums_apart
) {
    const int64_t apart = int64_t(nv) * LANES, a_bytes = stride * 4, b_bytes = apart * 4;
    _tile_zero(0);
    _tile_zero(2);
    if (NV > 1) {
        _tile_zero(1);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < pairs; k += TILE_PAIRS, b += TILE_PAIRS * apart) {
        fetch_pairs<NV>(b + TILE_PAIRS * apart, apart);
        _tile_loadd(4, a + k, a_bytes);
        _tile_loadd(5, a + height * stride + k, a_bytes);
        _tile_loadd(6, b, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        if (NV > 1) {
            _tile_loadd(7, b + LANES, b_bytes);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    float* below = sums + height * sums_apart / 4;
    _tile_stored(0, sums, sums_apart);
    _tile_stored(2, below, sums_apart);
    if (NV > 1) {
        _tile_stored(1, sums + LANES, sums_apart);
        _tile_stored(3, below + LANES, sums_apart);
    }
}

// One or two tiles of a, of `height` rows each, with all nv vectors of b: sums (rows, nv, 16).
void multiply_rows(
    const Pair* a, int64_t stride, int height, bool two, const Pair* b, int64_t pairs, int nv, float* sums
) {
    use_tiles(height);
    const int64_t sums_apart = int64_t(nv) * LANES * 4;
    for (int v = 0; v < nv; v += 2) {
        const Pair* from = b + v * LANES;
        float* to = sums + v * LANES;
        if (two && v + 1 < nv) multiply_two_tiles<2>(a, stride, height, from, pairs, nv, to, sums_apart);
        else if (two) multiply_two_tiles<1>(a, stride, height, from, pairs, nv, to, sums_apart);
        else if (v + 1 < nv) multiply_tile<2>(a, stride, from, pairs, nv, to, sums_apart);
        else multiply_tile<1>(a, stride, from, pairs, nv, to, sums_apart);
    }
}
#endif

// Products in bf16: the members of `SameType`.
struct InBf16 {
    typedef float State;
    typedef Bf16 Weight;
    typedef Pair Number;
    struct Rows {
        const Pair* data;
        int64_t stride;  // in pairs
    };
    // In pairs, and as many as full tiles take: those behind the last weight are zero.
    static int64_t depth(int64_t k) { return (k + 2 * TILE_PAIRS - 1) / (2 * TILE_PAIRS) * TILE_PAIRS; }
    static void pack(Number* out, int64_t stride, int64_t k, int64_t l, Weight value) {
        reinterpret_cast<Bf16*>(out)[2 * (k / 2 * stride + l) + k % 2] = value;
    }
    static void pack_row(Number* out, int64_t stride, int64_t k, const Weight* values, int64_t width) {
        for (int64_t l = 0; l < stride; ++l) pack(out, stride, k, l, l < width ? values[l] : Weight(0));
    }
    static void pack_end(Number* out, int64_t stride, int64_t k) {
        for (; k < 2 * depth(k); ++k)
            for (int64_t l = 0; l < stride; ++l) pack(out, stride, k, l, 0);
    }
    // All tiles of a product are equally high, and the last one may reach beyond the last row.
    static int tile_rows(int64_t rows) {
        const int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
        return int((rows + tiles - 1) / std::max<int64_t>(1, tiles));
    }
    // Rounds the rows. From one to the next it is an odd number of cache lines: rows that are a power of two apart drive
    // each other out of the first cache.
    static Rows take(Store& store, const float* a, int64_t stride, int64_t rows, int64_t k) {
        const int64_t pairs = depth(k);
        const int64_t apart = (pairs / TILE_PAIRS | 1) * TILE_PAIRS;
        const int64_t all = rows + rows / TILE_ROWS;  // what tiles reach
        auto* out = static_cast<Bf16*>(store.take(size_t(all) * apart * sizeof(Pair)));
        if (!out) {
            if (rows > 0) has_no_memory = true;
            return {nullptr, apart};
        }
        for (int64_t m = 0; m < rows; ++m) {
            Bf16* own = out + m * 2 * apart;
            for (int64_t i = 0; i < k; ++i) own[i] = rounded(a[m * stride + i]);
            std::memset(own + k, 0, (2 * pairs - k) * sizeof(Bf16));
        }
        std::memset(out + rows * 2 * apart, 0, (all - rows) * apart * sizeof(Pair));
        return {reinterpret_cast<const Pair*>(out), apart};
    }
    template <class Use>
    static void multiply(const Rows& a, int64_t rows, const Number* packed, int64_t k, int nv, Use&& use) {
        if (!a.data) return;
#if HAS_TILES
        if (uses_tiles) {
            alignas(64) float sums[2 * TILE_ROWS * 4 * LANES];
            const int height = tile_rows(rows);
            for (int64_t at = 0; at < rows; at += 2 * height) {
                multiply_rows(a.data + at * a.stride, a.stride, height, at + height < rows, packed, depth(k), nv, sums);
                use(at, int(std::min<int64_t>(2 * height, rows - at)), sums);
            }
            return;
        }
#endif
        multiply_tiles<float>([](int height, int nv) { return pair_tile(height, nv); }, a.data, a.stride, rows, packed,
                              depth(k), nv, use);
    }
#if HAS_TILES
    struct Session {
        ~Session() {
            if (tile_height) _tile_release();
            tile_height = 0;
        }
    };
#else
    struct Session {};
#endif
};

// Whether this process may use the tiles: Linux wants to be asked once, and all threads may then.
bool may_use_tiles() {
#if defined(SEQKIT_TILES)
    return true;
#elif HAS_TILES
    constexpr long ASK = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of its asm/prctl.h
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
#else
    return false;
#endif
}

}  // namespace

extern "C" {

// What multiplies from now on: 2 the tiles of AMX, 1 AVX512_BF16, 0 the plain version. `most`: no more than this.
int seqkit_bf16_units(int most) {
    uses_tiles = most >= 2 && LANES == 16 && may_use_tiles();
#if defined(__AVX512BF16__)
    return uses_tiles ? 2 : 1;
#else
    return uses_tiles ? 2 : 0;
#endif
}

// `seqkit_run` in single precision, with weights and products in bf16.
int seqkit_bf16_run(const int64_t* asked, int64_t count, int threads, int back) {
    has_no_memory = false;
    const int failed = run_asked<InBf16>(asked, count, threads, back);
    return has_no_memory ? 1 : failed;
}
}
