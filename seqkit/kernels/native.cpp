// The recurrence of one layer on a CPU: rows without padding, one pass a step, products and gates in one go.
//
// A layer's products with its inputs, and those for the gradients of its weights, are large and are left to the library
// that torch brings. What is left is the recurrence itself: at step t the rows of the sequences that are still running
// are multiplied with R (G H, H), and the gates act on the result while it is in registers and in the first cache.
//
// No headers but the standard library's, so that this builds in seconds. Vectors are the compiler's own (GCC and Clang
// alike), as wide as the processor allows. Each number is summed over k in the same order whatever stands beside it: a
// sequence's answer does not depend on its batch mates, to the last bit.
//
// Letters: T time, B sequences, N rows (all real steps of all sequences), H width of the state, G gates.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC's own header, of values it leaves open on purpose
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64, ACCUMULATORS = 24;
#elif defined(__AVX__)
constexpr int BYTES = 32, ACCUMULATORS = 12;
#else
constexpr int BYTES = 16, ACCUMULATORS = 12;
#endif

enum Kind : int64_t { TANH = 0, RELU = 1, LSTM = 2, GRU = 3 };

// ---- vectors ----------------------------------------------------------------------------------------------------

template <class T>
struct Lanes {
    typedef T V __attribute__((vector_size(BYTES)));
    static constexpr int n = BYTES / sizeof(T);
};
template <class T>
using Vec = typename Lanes<T>::V;

typedef int32_t Ints __attribute__((vector_size(BYTES)));

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, sizeof v);
}
// The first n lanes; the others are zero, or are left as they are.
template <class T>
inline Vec<T> load(const T* p, int n) {
    if (n >= Lanes<T>::n) return load(p);
    Vec<T> v = {};
    std::memcpy(&v, p, n * sizeof(T));
    return v;
}
template <class T>
inline void store(T* p, Vec<T> v, int n) {
    if (n >= Lanes<T>::n) return store(p, v);
    std::memcpy(p, &v, n * sizeof(T));
}
#if defined(__AVX512F__)
// In one instruction each: the ends of rows are met at every step of a chain.
template <>
inline Vec<double> load<double>(const double* p, int n) {
    return (Vec<double>)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p);
}
template <>
inline void store<double>(double* p, Vec<double> v, int n) {
    _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), (__m512d)v);
}
#endif

// A row of best scores and its emissions: lanes beyond the last class stay out of reach.
inline void store_lanes(double* out, Vec<double> best, const double* said, int64_t j, int64_t classes) {
    const int n = int(std::min<int64_t>(Lanes<double>::n, classes - j));
    Vec<double> sums = best + load(said + j, n);
    for (int l = n; l < Lanes<double>::n; ++l) sums[l] = -INFINITY;
    store(out + j, sums);
}

inline Vec<float> one_over(Vec<float> x) {
#if defined(__AVX512F__)
    Vec<float> y = (Vec<float>)_mm512_rcp14_ps((__m512)x);
    return y * (2.0f - x * y);  // 14 bits, doubled by one step of Newton
#else
    return 1.0f / x;
#endif
}

// e^x after Cephes: x = n ln 2 + r, a polynomial for e^r, n into the exponent. Not a number stays none.
inline Vec<float> exponential(Vec<float> x) {
    x = x > 80.0f ? Vec<float>{} + 80.0f : x;
    x = x < -80.0f ? Vec<float>{} - 80.0f : x;
    const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, which is then in the low bits
    Vec<float> shifted = x * 1.44269504088896341f + magic;
    Vec<float> n = shifted - magic;
    Vec<float> r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    Vec<float> p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return (Vec<float>)((Ints)p + ((Ints)shifted << 23));
}

inline Vec<float> sigmoid(Vec<float> x) { return one_over(1.0f + exponential(-x)); }

inline Vec<float> hyperbolic(Vec<float> x) {
    // Small: an odd polynomial, exact where 1 - e would cancel. Large: 1 - 2 / (e^2x + 1).
    Vec<float> s = x * x;
    Vec<float> p = -5.70498872745e-3f * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    Vec<float> small = p * s * x + x;
    Vec<float> large = 1.0f - 2.0f * one_over(exponential(2.0f * x) + 1.0f);
    return s < 0.390625f ? small : large;
}

inline Vec<double> sigmoid(Vec<double> x) {
    for (int i = 0; i < Lanes<double>::n; ++i) x[i] = 1.0 / (1.0 + std::exp(-x[i]));
    return x;
}
inline Vec<double> hyperbolic(Vec<double> x) {
    for (int i = 0; i < Lanes<double>::n; ++i) x[i] = std::tanh(x[i]);
    return x;
}

// Memory that is kept for the next time.
struct Store {
    void* data = nullptr;
    size_t size = 0;
    Store() = default;
    Store(const Store&) = delete;
    ~Store() { std::free(data); }
    void* take(size_t wanted) {
        if (wanted > size) {
            std::free(data);
            data = std::aligned_alloc(64, (wanted + 63) / 64 * 64);
            size = data ? wanted : 0;
        }
        return data;
    }
};

thread_local Store store_of_packed;

// ---- products ---------------------------------------------------------------------------------------------------

// out[m][v] = a[m, :] . b[:, v], with b packed as (k, v, lane). Accumulators stay in registers.
template <class T, int M, int NV>
void tile(const T* a, int64_t stride, const T* b, int64_t depth, T* out) {
    constexpr int L = Lanes<T>::n;
    Vec<T> sum[M][NV] = {};
    for (int64_t k = 0; k < depth; ++k, b += NV * L) {
        Vec<T> each[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) each[v] = load(b + v * L);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
            const T own = a[m * stride + k];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[m][v] += own * each[v];
        }
    }
    for (int m = 0; m < M; ++m)
        for (int v = 0; v < NV; ++v) store(out + (m * NV + v) * L, sum[m][v]);
}

template <class T>
using Tile = void (*)(const T*, int64_t, const T*, int64_t, T*);

// Most rows of a tile of NV vectors.
constexpr int most_rows(int nv) { return std::min(8, ACCUMULATORS / std::max(nv, ACCUMULATORS == 24 ? 3 : 2)); }

template <class T, int NV, int M = most_rows(NV)>
Tile<T> tile_of(int rows) {
    if (rows == M) return tile<T, M, NV>;
    if constexpr (M > 1) return tile_of<T, NV, M - 1>(rows);
    return nullptr;
}
template <class T>
Tile<T> tile_of(int rows, int nv) {
    if (nv == 4) return tile_of<T, 4>(rows);
    if (nv == 3) return tile_of<T, 3>(rows);
    if (nv == 2) return tile_of<T, 2>(rows);
    return tile_of<T, 1>(rows);
}

// Cuts `rows` into tiles of nearly equal height and gives each product to `use(first row, rows, sums)`.
template <class T, class Tiles, class Number, class Use>
void multiply_tiles(
    Tiles&& tile_of_height, const Number* a, int64_t stride, int64_t rows, const Number* packed, int64_t depth, int nv,
    Use&& use
) {
    alignas(64) T sums[8 * 4 * Lanes<T>::n];
    const int64_t tiles = (rows + most_rows(nv) - 1) / most_rows(nv);
    for (int64_t i = 0, at = 0; i < tiles; ++i) {
        const int height = int((rows - at + tiles - i - 1) / (tiles - i));
        tile_of_height(height, nv)(a + at * stride, stride, packed, depth, sums);
        use(at, height, sums);
        at += height;
    }
}

// Products in the type of the states. native_bf16.cpp has products in bf16, with the same members.
template <class T>
struct SameType {
    typedef T State;
    typedef T Weight;  // as the caller has it
    typedef T Number;  // as it is packed
    struct Rows {      // what is multiplied with the weights
        const T* data;
        int64_t stride;
    };
    // How many packed numbers a column of k weights takes.
    static int64_t depth(int64_t k) { return k; }
    // Weight k of column l, where the columns of a panel are `stride` apart.
    static void pack(Number* out, int64_t stride, int64_t k, int64_t l, Weight value) { out[k * stride + l] = value; }
    // Weight k of the columns from 0 on; those from `width` to `stride` are zero.
    static void pack_row(Number* out, int64_t stride, int64_t k, const Weight* values, int64_t width) {
        std::memcpy(out + k * stride, values, width * sizeof(T));
        std::memset(out + k * stride + width, 0, (stride - width) * sizeof(T));
    }
    // What is behind the k weights of each column, where a column takes more.
    static void pack_end(Number*, int64_t, int64_t) {}
    static Rows take(Store&, const T* a, int64_t stride, int64_t, int64_t) { return {a, stride}; }
    template <class Use>
    static void multiply(const Rows& a, int64_t rows, const Number* packed, int64_t k, int nv, Use&& use) {
        multiply_tiles<T>([](int height, int nv) { return tile_of<T>(height, nv); }, a.data, a.stride, rows, packed, k,
                          nv, use);
    }
    struct Session {};  // lives while a thread multiplies
};

// How the H columns of a product are cut: panels of four vectors, the last one of as many as are left.
template <class T>
struct Panels {
    int64_t width;
    explicit Panels(int64_t width) : width(width) {}
    int64_t vectors() const { return (width + Lanes<T>::n - 1) / Lanes<T>::n; }
    int64_t count() const { return (vectors() + 3) / 4; }
    int nv(int64_t panel) const { return int(std::min<int64_t>(4, vectors() - panel * 4)); }
    int64_t first(int64_t panel) const { return panel * 4 * Lanes<T>::n; }
};

// ---- what is asked ----------------------------------------------------------------------------------------------

struct Group {  // some sequences, longest first, their rows by time and then by sequence
    int64_t row, sequence, sequences, steps;
    const int64_t* alive;  // (steps,) how many of them are still running
};

// One direction of one layer. All rows are (N, .) with a stride; all states are (B, H), contiguous.
struct SeqkitPass {
    int64_t kind, hidden, backwards;
    const void* weights;     // R (G H, H), contiguous
    const void* bias;        // GRU: the second bias of the new gate (H,)
    void* gates;             // (N, G H): W x + b in, the gates' values out
    void* memory;            // (N, .) LSTM: c; GRU: R_n h + bias
    int64_t memory_stride;
    void* steps;             // (N, .) h
    int64_t steps_stride;
    const void* h0;          // or null: zero
    const void* c0;
    // the way back
    const void* gradient;    // (N, .) of the steps
    int64_t gradient_stride;
    void* changes;           // (N, G H), GRU (N, 4 H) as new, reset, update, R_n h: of what goes into the gates
    void* before;            // (N, H): the state before each step
    void* carried;           // (B, H) in: gradient of the final c (LSTM), zero (GRU); out: that part of the start's
};

struct SeqkitLayout {
    int64_t groups;
    const int64_t* table;    // (groups, 4): first row, first sequence, sequences, steps
    const int64_t* alive;    // each group's counts, one group after the other
};

// Numbers too small for full precision count as zero, as long as this lives. Every job runs so: whether a thread's own
// do depends on when it was started, and the result of a job must not depend on which thread it runs on.
struct Flushed {
#if defined(__x86_64__)
    unsigned before;
    Flushed() : before(_mm_getcsr()) { _mm_setcsr(before | 0x8040); }
    ~Flushed() { _mm_setcsr(before); }
#endif
};

int64_t gates_of(int64_t kind) { return kind == LSTM ? 4 : kind == GRU ? 3 : 1; }

// Vectors of a tile in the pass there: the gates of one block of units, or up to four blocks of a single gate.
template <class P>
struct Packed {
    typedef typename P::State T;
    typedef typename P::Weight Weight;
    typedef typename P::Number Number;
    static constexpr int L = Lanes<T>::n;
    int64_t kind, hidden, gates;
    Packed(const SeqkitPass& p) : kind(p.kind), hidden(p.hidden), gates(gates_of(p.kind)) {}
    int64_t there_panels() const {
        return gates == 1 ? Panels<T>(hidden).count() : (hidden + L - 1) / L;
    }
    int64_t there_at(int64_t panel) const { return panel * (gates == 1 ? 4 : gates) * L * P::depth(hidden); }
    int64_t there_size() const {
        return (gates == 1 ? 1 : gates) * Panels<T>(hidden).vectors() * L * P::depth(hidden);
    }
    int64_t back_at(int64_t panel) const { return panel * 4 * L * P::depth(gates * hidden); }
    int64_t back_size() const { return Panels<T>(hidden).vectors() * L * P::depth(gates * hidden); }

    // Panel of R transposed: (k, v, lane) of R[column(v, lane), k].
    void pack_there(const Weight* r, int64_t panel, Number* out) const {
        out += there_at(panel);
        if (gates == 1) {
            Panels<T> cut(hidden);
            const int nv = cut.nv(panel);
            for (int v = 0; v < nv; ++v) turn(r, cut.first(panel) + v * L, out, v * L, nv * L, hidden);
            P::pack_end(out, nv * L, hidden);
        } else {
            for (int64_t g = 0; g < gates; ++g)
                turn(r + g * hidden * hidden, panel * L, out, g * L, gates * L, hidden);
            P::pack_end(out, gates * L, hidden);
        }
    }
    static void turn(const Weight* r, int64_t first, Number* out, int64_t column, int64_t stride, int64_t hidden) {
        const int there = int(std::min<int64_t>(L, hidden - first));
        for (int64_t k0 = 0; k0 < hidden; k0 += L) {
            const int64_t k1 = std::min<int64_t>(k0 + L, hidden);
            for (int l = 0; l < there; ++l)
                for (int64_t k = k0; k < k1; ++k) P::pack(out, stride, k, column + l, r[(first + l) * hidden + k]);
            for (int l = there; l < L; ++l)
                for (int64_t k = k0; k < k1; ++k) P::pack(out, stride, k, column + l, 0);
        }
    }
    // Panel of R as it is: (k, v, lane) of R[k, column], k over all gates.
    void pack_back(const Weight* r, int64_t panel, Number* out) const {
        Panels<T> cut(hidden);
        const int nv = cut.nv(panel);
        const int64_t depth = gates * hidden, first = cut.first(panel);
        const int64_t width = std::min<int64_t>(nv * L, hidden - first);
        out += back_at(panel);
        for (int64_t k = 0; k < depth; ++k) P::pack_row(out, nv * L, k, r + k * hidden + first, width);
        P::pack_end(out, nv * L, depth);
    }
};

Group group_of(const SeqkitLayout& layout, int64_t g) {
    const int64_t* row = layout.table + g * 4;
    const int64_t* alive = layout.alive;
    for (int64_t i = 0; i < g; ++i) alive += layout.table[i * 4 + 3];
    return {row[0], row[1], row[2], row[3], alive};
}

template <class T>
const T* at(const void* base, int64_t index) { return static_cast<const T*>(base) + index; }
template <class T>
T* at(void* base, int64_t index) { return static_cast<T*>(base) + index; }

// ---- the pass there ---------------------------------------------------------------------------------------------

// The gates of n units of one row; `sum` holds R h of each gate, one vector apart.
template <class T>
inline void gate_there(const SeqkitPass& p, int64_t row, int64_t unit, int n, const T* sum, const T* h, const T* c) {
    constexpr int L = Lanes<T>::n;
    const int64_t H = p.hidden;
    T* out = at<T>(p.steps, row * p.steps_stride + unit);
    if (p.kind == LSTM) {
        T* x = at<T>(p.gates, row * 4 * H + unit);
        const Vec<T> enter = sigmoid(load(x, n) + load(sum));
        const Vec<T> keep = sigmoid(load(x + H, n) + load(sum + L));
        const Vec<T> fresh = hyperbolic(load(x + 2 * H, n) + load(sum + 2 * L));
        const Vec<T> show = sigmoid(load(x + 3 * H, n) + load(sum + 3 * L));
        Vec<T> memory = enter * fresh;
        if (c) memory += keep * load(c + unit, n);
        store(x, enter, n), store(x + H, keep, n), store(x + 2 * H, fresh, n), store(x + 3 * H, show, n);
        store(at<T>(p.memory, row * p.memory_stride + unit), memory, n);
        store(out, show * hyperbolic(memory), n);
    } else if (p.kind == GRU) {
        T* x = at<T>(p.gates, row * 3 * H + unit);
        const Vec<T> again = load(sum + 2 * L) + load(at<T>(p.bias, unit), n);
        const Vec<T> reset = sigmoid(load(x, n) + load(sum));
        const Vec<T> update = sigmoid(load(x + H, n) + load(sum + L));
        const Vec<T> fresh = hyperbolic(load(x + 2 * H, n) + reset * again);
        Vec<T> now = fresh - update * fresh;
        if (h) now += update * load(h + unit, n);
        store(x, reset, n), store(x + H, update, n), store(x + 2 * H, fresh, n);
        store(at<T>(p.memory, row * p.memory_stride + unit), again, n);
        store(out, now, n);
    } else {
        const Vec<T> sums = load(at<T>(p.gates, row * H + unit), n) + load(sum);
        store(out, p.kind == TANH ? hyperbolic(sums) : (sums < T(0) ? Vec<T>{} : sums), n);
    }
}

// A group in one direction, step by step: `begin` a step, then each of its panels, which may be those of one thread among
// others, then `end` it.
template <class P>
struct Recurrence {
    typedef P Products;
    const SeqkitPass& p;
    const Group g;
    const typename P::Number* packed;
    const Packed<P> shape;
    const bool is_upward;  // from the first step of the rows to the last
    int64_t row;

    Recurrence(const SeqkitPass& p, const Group& g, const typename P::Number* packed, bool is_upward)
        : p(p), g(g), packed(packed), shape(p), is_upward(is_upward), row(g.row) {
        if (!is_upward)
            for (int64_t t = 0; t < g.steps; ++t) row += g.alive[t];
    }
    int64_t time(int64_t i) const { return is_upward ? i : g.steps - 1 - i; }
    void end(int64_t i) {
        if (is_upward) row += g.alive[time(i)];
    }
};

template <class P>
struct ForwardPass : Recurrence<P> {
    typedef typename P::State T;
    static constexpr int L = Lanes<T>::n;
    using Recurrence<P>::p, Recurrence<P>::g, Recurrence<P>::packed, Recurrence<P>::shape, Recurrence<P>::row;

    ForwardPass(const SeqkitPass& p, const Group& g, const typename P::Number* packed)
        : Recurrence<P>(p, g, packed, !p.backwards) {}

    // Step i in the order of this direction. The first `going` rows were running at the step before; the others start.
    void begin(int64_t i) {
        const int64_t H = p.hidden, t = this->time(i);
        int64_t going = 0, last = 0;
        if (p.backwards) row -= g.alive[t];
        if (p.backwards && t + 1 < g.steps) going = g.alive[t + 1], last = row + g.alive[t];
        if (!p.backwards && t > 0) going = g.alive[t], last = row - g.alive[t - 1];
        const int64_t starting = g.alive[t] - going, sequence = g.sequence + going;
        parts[0].take(p, row, going, at<T>(p.steps, last * p.steps_stride), p.steps_stride,
                      p.memory ? at<T>(p.memory, last * p.memory_stride) : nullptr, p.memory_stride);
        parts[1].take(p, row + going, starting, p.h0 ? at<T>(p.h0, sequence * H) : nullptr, H,
                      p.c0 ? at<T>(p.c0, sequence * H) : nullptr, H);
    }
    void panel(int64_t panel) const {
        for (const Part& part : parts)
            if (part.rows > 0) part_of_panel(part, panel);
    }

  private:
    // `rows` rows from `row` on, whose states before are at h and c (null: zero).
    struct Part {
        int64_t row = 0, rows = 0, h_stride = 0, c_stride = 0;
        const T *h = nullptr, *c = nullptr;
        typename P::Rows states = {};
        Store store;
        void take(
            const SeqkitPass& p, int64_t from, int64_t count, const T* states_before, int64_t states_stride,
            const T* memory_before, int64_t memory_stride
        ) {
            row = from, rows = count, h = states_before, h_stride = states_stride;
            c = memory_before, c_stride = memory_stride;
            if (h && rows > 0) states = P::take(store, h, h_stride, rows, p.hidden);
        }
    } parts[2];

    void part_of_panel(const Part& part, int64_t panel) const {
        static const T zeros[4 * L] = {};
        const bool has_one_gate = shape.gates == 1;
        const Panels<T> cut(p.hidden);
        const int nv = has_one_gate ? cut.nv(panel) : int(shape.gates);
        const int64_t unit = has_one_gate ? cut.first(panel) : panel * L;
        auto use = [&](int64_t first, int count, const T* sums, int64_t apart) {
            for (int m = 0; m < count; ++m) {
                const int64_t own = first + m;
                const T* h = part.h ? part.h + own * part.h_stride : nullptr;
                const T* c = part.c ? part.c + own * part.c_stride : nullptr;
                for (int v = 0; v < (has_one_gate ? nv : 1); ++v) {
                    const int n = int(std::min<int64_t>(L, p.hidden - unit - v * L));
                    gate_there<T>(p, part.row + own, unit + v * L, n, sums + m * apart + (apart ? v * L : 0), h, c);
                }
            }
        };
        if (!part.h) return use(0, int(part.rows), zeros, 0);
        P::multiply(part.states, part.rows, packed + shape.there_at(panel), p.hidden, nv,
                    [&](int64_t first, int count, const T* sums) { use(first, count, sums, nv * L); });
    }
};

// ---- the way back -----------------------------------------------------------------------------------------------

// The gates of n units of one row. `sum` holds what comes back from the step after (null: nothing does).
template <class T>
inline void gate_back(
    const SeqkitPass& p, int64_t row, int64_t unit, int n, const T* sum, const T* h, const T* c, T* carried, bool going
) {
    const int64_t H = p.hidden;
    Vec<T> up = load(at<T>(p.gradient, row * p.gradient_stride + unit), n);
    if (sum) up += load(sum);
    const Vec<T> before = h ? load(h + unit, n) : Vec<T>{};
    store(at<T>(p.before, row * H + unit), before, n);
    if (p.kind == LSTM) {
        const T* x = at<T>(p.gates, row * 4 * H + unit);
        T* out = at<T>(p.changes, row * 4 * H + unit);
        const Vec<T> enter = load(x, n), keep = load(x + H, n), fresh = load(x + 2 * H, n), show = load(x + 3 * H, n);
        const Vec<T> seen = hyperbolic(load(at<T>(p.memory, row * p.memory_stride + unit), n));
        const Vec<T> memory = load(carried + unit, n) + up * show * (T(1) - seen * seen);
        const Vec<T> past = c ? load(c + unit, n) : Vec<T>{};
        store(out, memory * fresh * enter * (T(1) - enter), n);
        store(out + H, memory * past * keep * (T(1) - keep), n);
        store(out + 2 * H, memory * enter * (T(1) - fresh * fresh), n);
        store(out + 3 * H, up * seen * show * (T(1) - show), n);
        store(carried + unit, memory * keep, n);
    } else if (p.kind == GRU) {
        const T* x = at<T>(p.gates, row * 3 * H + unit);
        T* out = at<T>(p.changes, row * 4 * H + unit);
        if (going) up += load(carried + unit, n);
        const Vec<T> reset = load(x, n), update = load(x + H, n), fresh = load(x + 2 * H, n);
        const Vec<T> again = load(at<T>(p.memory, row * p.memory_stride + unit), n);
        const Vec<T> inner = up * (T(1) - update) * (T(1) - fresh * fresh);
        store(out, inner, n);
        store(out + H, inner * again * reset * (T(1) - reset), n);
        store(out + 2 * H, up * (before - fresh) * update * (T(1) - update), n);
        store(out + 3 * H, inner * reset, n);
        store(carried + unit, up * update, n);
    } else {
        const Vec<T> value = load(at<T>(p.steps, row * p.steps_stride + unit), n);
        const Vec<T> slope = p.kind == TANH ? T(1) - value * value : (value > T(0) ? Vec<T>{} + T(1) : Vec<T>{});
        store(at<T>(p.changes, row * H + unit), up * slope, n);
    }
}

// One row's neighbours: where its state before stands (null: zero).
template <class T>
struct Past {
    const T *h, *c;
};

template <class P>
struct BackwardPass : Recurrence<P> {
    typedef typename P::State T;
    static constexpr int L = Lanes<T>::n;
    using Recurrence<P>::p, Recurrence<P>::g, Recurrence<P>::packed, Recurrence<P>::shape, Recurrence<P>::row;

    BackwardPass(const SeqkitPass& p, const Group& g, const typename P::Number* packed)
        : Recurrence<P>(p, g, packed, p.backwards) {}

    void begin(int64_t i) {
        const int64_t G = gates_of(p.kind), wide = (p.kind == GRU ? 4 : G) * p.hidden;
        const int64_t skip = p.kind == GRU ? p.hidden : 0;  // what R sees of the changes begins behind the new gate's own
        const int64_t t = this->time(i);
        rows = g.alive[t];
        if (!p.backwards) row -= rows;
        // From which rows a gradient comes back: forwards the step t + 1, backwards the step t - 1.
        int64_t next = going = 0;
        if (!p.backwards && t + 1 < g.steps) going = g.alive[t + 1], next = row + rows;
        if (p.backwards && t > 0) going = rows, next = row - g.alive[t - 1];
        // Which rows have a state before: forwards all but at t = 0, backwards those that run on at t + 1.
        had = past = 0;
        if (!p.backwards && t > 0) had = rows, past = row - g.alive[t - 1];
        if (p.backwards && t + 1 < g.steps) had = g.alive[t + 1], past = row + rows;
        changes = P::take(store, at<T>(p.changes, next * wide + skip), wide, going, G * p.hidden);
    }
    void panel(int64_t panel) const {
        const Panels<T> cut(p.hidden);
        const int nv = cut.nv(panel);
        P::multiply(changes, going, packed + shape.back_at(panel), shape.gates * p.hidden, nv,
                    [&](int64_t first, int count, const T* sums) {
                        for (int m = 0; m < count; ++m) gates(cut, panel, first + m, sums + m * nv * L);
                    });
        for (int64_t m = going; m < rows; ++m) gates(cut, panel, m, nullptr);
    }

  private:
    int64_t rows = 0, going = 0, had = 0, past = 0;
    typename P::Rows changes = {};
    Store store;

    Past<T> before(int64_t m) const {
        const int64_t H = p.hidden;
        if (m < had)
            return {at<T>(p.steps, (past + m) * p.steps_stride),
                    p.kind == LSTM ? at<T>(p.memory, (past + m) * p.memory_stride) : nullptr};
        return {p.h0 ? at<T>(p.h0, (g.sequence + m) * H) : nullptr, p.c0 ? at<T>(p.c0, (g.sequence + m) * H) : nullptr};
    }
    void gates(const Panels<T>& cut, int64_t panel, int64_t m, const T* sums) const {
        const Past<T> own = before(m);
        T* carried = p.carried ? at<T>(p.carried, (g.sequence + m) * p.hidden) : nullptr;
        for (int v = 0; v < cut.nv(panel); ++v) {
            const int64_t unit = cut.first(panel) + v * L;
            const int n = int(std::min<int64_t>(L, p.hidden - unit));
            gate_back<T>(p, row + m, unit, n, sums ? sums + v * L : nullptr, own.h, own.c, carried, sums != nullptr);
        }
    }
};

// ---- threads ----------------------------------------------------------------------------------------------------

typedef void (*Parallel)(void (*)(void*), void*, unsigned, unsigned);
typedef int (*ThreadFunction)();
Parallel parallel = nullptr;  // of the OpenMP library that torch has loaded; null: one thread
ThreadFunction thread_number = nullptr, team_size = nullptr;

template <class Work>
void on_thread(void* work) {
    const Flushed flushed;
    (*static_cast<Work*>(work))(thread_number(), team_size());
}

// `work(number of the thread, number of threads)` on so many threads, or on fewer if there are no more.
template <class Work>
void on_threads(int threads, Work work) {
    if (threads > 1 && parallel) {
        parallel(on_thread<Work>, &work, unsigned(threads), 0);
        return;
    }
    const Flushed flushed;
    work(0, 1);
}

template <class Work>
void for_each(int64_t jobs, int threads, Work work) {
    on_threads(int(std::min<int64_t>(threads, jobs)), [&](int64_t thread, int64_t team) {
        for (int64_t job = thread; job < jobs; job += team) work(job);
    });
}

// Where the threads of a team wait until all are there.
class Barrier {
    alignas(64) std::atomic<int> waiting{0};
    alignas(64) std::atomic<int> round{0};

  public:
    void wait(int64_t team) {
        if (team == 1) return;
        const int now = round.load(std::memory_order_relaxed);
        if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == team) {
            waiting.store(0, std::memory_order_relaxed);
            round.store(now + 1, std::memory_order_release);
            return;
        }
        // The others are about to come, unless their core is taken: then this one may be of use to somebody.
        for (int tries = 0; round.load(std::memory_order_acquire) == now; ++tries) {
            if (tries > 2000) std::this_thread::yield();
#if defined(__x86_64__)
            else _mm_pause();
#endif
        }
    }
};

// From how many bytes of recurrent weights in a direction on threads share the units of a step; dispatch.py has the same
// number. Below, each has sequences of its own and waits for nobody. Above, the weights do not stay in a core's second
// cache, from where a share of them is read faster.
constexpr int64_t SHARED_FROM = 768 << 10;

// The one group of a layout in all directions, each thread a share of the units, one step after the other.
template <class Pass, class P = typename Pass::Products>
void run_together(
    const SeqkitPass* passes, int64_t count, const SeqkitLayout& layout, int threads, const typename P::Number* packed,
    int64_t each, int64_t panels
) {
    const Group group = group_of(layout, 0);
    Barrier barrier;
    on_threads(threads, [&](int64_t thread, int64_t team) {
        [[maybe_unused]] const typename P::Session session{};
        std::optional<Pass> passes_of_thread[2];
        for (int64_t d = 0; d < count; ++d) passes_of_thread[d].emplace(passes[d], group, packed + d * each);
        const int64_t first = count * panels * thread / team, beyond = count * panels * (thread + 1) / team;
        for (int64_t i = 0; i < group.steps; ++i) {
            for (int64_t d = 0; d < count; ++d) passes_of_thread[d]->begin(i);
            for (int64_t own = first; own < beyond; ++own) passes_of_thread[own / panels]->panel(own % panels);
            for (int64_t d = 0; d < count; ++d) passes_of_thread[d]->end(i);
            barrier.wait(team);
        }
    });
}

// Each group in each direction by itself, on one of the threads.
template <class Pass, class P = typename Pass::Products>
void run_apart(
    const SeqkitPass* passes, int64_t count, const SeqkitLayout& layout, int threads, const typename P::Number* packed,
    int64_t each, int64_t panels
) {
    for_each(count * layout.groups, threads, [&](int64_t job) {
        [[maybe_unused]] const typename P::Session session{};
        const int64_t d = job % count;
        Pass pass(passes[d], group_of(layout, job / count), packed + d * each);
        for (int64_t i = 0; i < pass.g.steps; ++i) {
            pass.begin(i);
            for (int64_t panel = 0; panel < panels; ++panel) pass.panel(panel);
            pass.end(i);
        }
    });
}

template <class P>
int run(const SeqkitPass* passes, int64_t count, const SeqkitLayout& layout, int threads, bool back) {
    typedef typename P::Number Number;
    const Packed<P> shape(passes[0]);  // the directions of a layer are alike
    const int64_t each = back ? shape.back_size() : shape.there_size();
    const int64_t panels = back ? Panels<typename P::State>(shape.hidden).count() : shape.there_panels();
    Number* packed = static_cast<Number*>(store_of_packed.take(count * each * sizeof(Number)));
    if (!packed) return 1;
    for_each(count * panels, threads, [&](int64_t job) {
        const int64_t d = job / panels, panel = job % panels;
        const auto* r = static_cast<const typename P::Weight*>(passes[d].weights);
        if (back)
            shape.pack_back(r, panel, packed + d * each);
        else
            shape.pack_there(r, panel, packed + d * each);
    });
    const int64_t bytes = shape.gates * shape.hidden * shape.hidden * int64_t(sizeof(typename P::Weight));
    const bool together = threads > count && layout.groups == 1 && bytes >= SHARED_FROM;
    if (back)
        (together ? run_together<BackwardPass<P>> : run_apart<BackwardPass<P>>)(passes, count, layout, threads, packed, each, panels);
    else
        (together ? run_together<ForwardPass<P>> : run_apart<ForwardPass<P>>)(passes, count, layout, threads, packed, each, panels);
    return 0;
}

// `asked`: the passes of the directions, and then the layout. Not 0: no memory, or too many directions.
template <class P>
int run_asked(const int64_t* asked, int64_t count, int threads, bool back) {
    SeqkitPass passes[2];
    SeqkitLayout layout;
    static_assert(sizeof passes[0] % sizeof(int64_t) == 0 && sizeof(void*) == sizeof(int64_t));
    if (count > 2) return 2;
    std::memcpy(passes, asked, count * sizeof passes[0]);
    std::memcpy(&layout, asked + count * sizeof passes[0] / sizeof(int64_t), sizeof layout);
    return run<P>(passes, count, layout, threads, back);
}

// ---- sums over the paths of chains --------------------------------------------------------------------------------

typedef Vec<double> Doubles;
typedef int64_t Longs __attribute__((vector_size(BYTES)));
constexpr int WIDTH = Lanes<double>::n;
constexpr double LOWEST = -1e300;  // in the place of -inf where it is taken away: -inf less this is still -inf
constexpr double LN2_HIGH = 6.93147180369123816490e-1, LN2_LOW = 1.90821492927058770002e-10;
constexpr double WHOLE = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number, as in single precision

inline Doubles power_of_two(Doubles n) { return (Doubles)(((Longs)(n + WHOLE) << 52) + 0x3ff0000000000000); }

// e^x, to within an ulp or so; 0 from -746 down, inf from 710 up, and not a number stays none.
inline Doubles exponential(Doubles x) {
    x = x > 710.0 ? Doubles{} + 710.0 : x;
    x = x < -750.0 ? Doubles{} - 750.0 : x;
    const Doubles n = (x * 1.44269504088896340736 + WHOLE) - WHOLE;
    const Doubles r = (x - n * LN2_HIGH) - n * LN2_LOW, s = r * r;
    // The series to the 13th power, |r| < 0.35; even and odd powers apart.
    Doubles even = s * (1.0 / 479001600) + 1.0 / 3628800, odd = s * (1.0 / 6227020800) + 1.0 / 39916800;
    even = even * s + 1.0 / 40320, odd = odd * s + 1.0 / 362880;
    even = even * s + 1.0 / 720, odd = odd * s + 1.0 / 5040;
    even = even * s + 1.0 / 24, odd = odd * s + 1.0 / 120;
    even = even * s + 0.5, odd = odd * s + 1.0 / 6;
    const Doubles e = (even + odd * r) * s + r + 1.0;
    // In two halves, so that what is smaller than the smallest normal number is reached as well.
    const Doubles half = (n * 0.5 + WHOLE) - WHOLE;
    return e * power_of_two(half) * power_of_two(n - half);
}

// Natural logarithm of x >= 0 after fdlibm's log: x = 2^k (1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1). Of 0: -inf.
inline Doubles logarithm(Doubles x) {
    const auto tiny = x < 2.2250738585072014e-308;
    const Doubles scaled = tiny ? x * 18014398509481984.0 : x;
    const Longs bits = (Longs)scaled + (0x3ff0000000000000 - 0x3fe6a09e667f3bcd);
    Doubles k = (Doubles)((bits >> 52) + (Longs)(Doubles{} + WHOLE)) - (WHOLE + 1023.0);
    k = tiny ? k - 54.0 : k;
    const Doubles f = (Doubles)((bits & 0x000fffffffffffff) + 0x3fe6a09e667f3bcd) - 1.0;
    const Doubles s = f / (2.0 + f), z = s * s, w = z * z, half = 0.5 * f * f;
    Doubles odd = w * 1.531383769920937332e-1 + 2.222219843214978396e-1;
    odd = (odd * w + 3.999999999940941908e-1) * w;
    Doubles even = w * 1.479819860511658591e-1 + 1.818357216161805012e-1;
    even = ((even * w + 2.857142874366239149e-1) * w + 6.666666666666735130e-1) * z;
    const Doubles found = k * LN2_HIGH - ((half - (s * (half + odd + even) + k * LN2_LOW)) - f);
    const Doubles edge = x == 0.0 ? Doubles{} - INFINITY : x;  // inf and not a number stay what they are
    const auto usual = (x > 0.0) & (x < INFINITY);
    return usual ? found : edge;
}

// The fields of `Chain`, in 64 bits each, and the strides of those that may be views.
struct Chains {
    const double* emissions;  // (T, B, C)
    int64_t by_time, by_chain;
    const double *transitions, *start;  // (C, C), (B, C)
    int64_t by_start;
    const double* end;  // (B, C)
    int64_t by_end;
    const int64_t *lengths, *paths;  // (B,); (B, T) or null
    int64_t by_path, steps, batch, classes;

    int64_t wide() const { return (classes + WIDTH - 1) / WIDTH * WIDTH; }
    int lanes(int64_t j) const { return int(std::min<int64_t>(WIDTH, classes - j)); }
    // 0, or what is wrong: 2, a length; 3, a state of a path.
    int fault() const {
        if (std::any_of(lengths, lengths + batch, [this](int64_t l) { return l < 1 || l > steps; })) return 2;
        for (int64_t b = 0; paths && b < batch; ++b)
            for (int64_t t = 0; t < lengths[b]; ++t)
                if (path(b)[t] < 0 || path(b)[t] >= classes) return 3;
        return 0;
    }
    const int64_t* path(int64_t b) const { return paths + b * by_path; }
    double path_score(int64_t b) const {
        const int64_t *y = path(b), last = lengths[b] - 1;
        double score = start[b * by_start + y[0]] + end[b * by_end + y[last]];
        for (int64_t t = 0; t <= last; ++t) score += emissions[b * by_chain + t * by_time + y[t]];
        for (int64_t t = 1; t <= last; ++t) score += transitions[y[t - 1] * classes + y[t]];
        return score;
    }
    // Chains are shared out in so many parts whatever the number of threads: what is summed over them has one order.
    int64_t parts() const { return std::min<int64_t>(16, (batch + 7) / 8); }
    template <class Work>
    void each_part(int threads, Work work) const {
        const int64_t count = parts(), share = count ? (batch + count - 1) / count : 0;
        for_each(count, threads, [&](int64_t part) { work(part, part * share, std::min(batch, (part + 1) * share)); });
    }
    // What is taken off the transitions before their exponentials are taken, so that none is infinite.
    double shift() const {
        const double top = *std::max_element(transitions, transitions + classes * classes);
        return top > 300.0 ? top : 0.0;
    }
    // exp(transitions - shift) by rows and by columns, each row filled up with zeros. Gives the shift.
    double weights(double* rows, double* columns) const {
        const double less = shift();
        for (int64_t i = 0; i < classes; ++i)
            for (int64_t j = 0; j < wide(); j += WIDTH) {
                const int n = lanes(j);
                Doubles w = exponential(load(transitions + i * classes + j, n) - less);
                for (int l = n; l < WIDTH; ++l) w[l] = 0.0;
                store(rows + i * wide() + j, w);
            }
        for (int64_t j = 0; j < classes; ++j)
            for (int64_t i = 0; i < wide(); ++i) columns[j * wide() + i] = i < classes ? rows[i * wide() + j] : 0.0;
        return less;
    }
    // log of the sum over i of exp(row[i] + the transition between i and j), whatever the scores.
    double exact_sum(const double* row, int64_t j, bool forwards) const {
        const double* to = transitions + (forwards ? j : j * classes);
        const int64_t stride = forwards ? classes : 1;
        double top = -INFINITY, sum = 0.0;
        for (int64_t i = 0; i < classes; ++i) top = std::max(top, row[i] + to[i * stride]);
        if (top == -INFINITY) return top;
        for (int64_t i = 0; i < classes; ++i) sum += std::exp(row[i] + to[i * stride] - top);
        return std::log(sum) + top;
    }
};

// (n) by (n, wide), NV vectors of the columns. Two sums each, or the processor would wait for one to be done.
template <int NV>
inline void chain_product(const double* a, const double* w, int64_t wide, int64_t n, double* out) {
    Doubles one[NV] = {}, two[NV] = {};
    int64_t i = 0;
    for (; i + 1 < n; i += 2)
        for (int v = 0; v < NV; ++v) {
            one[v] += a[i] * load(w + i * wide + v * WIDTH);
            two[v] += a[i + 1] * load(w + (i + 1) * wide + v * WIDTH);
        }
    if (i < n)
        for (int v = 0; v < NV; ++v) one[v] += a[i] * load(w + i * wide + v * WIDTH);
    for (int v = 0; v < NV; ++v) store<double>(out + v * WIDTH, one[v] + two[v]);
}

// out = exp(row - top), and gives top: the largest entry, or a very low number.
inline double lifted(const double* row, int64_t wide, double* out) {
    Doubles best = load(row);
    for (int64_t j = WIDTH; j < wide; j += WIDTH) {
        const Doubles own = load(row + j);
        best = own > best ? own : best;
    }
    double top = LOWEST;
    for (int l = 0; l < WIDTH; ++l) top = best[l] > top ? best[l] : top;
    for (int64_t j = 0; j < wide; j += WIDTH) store<double>(out + j, exponential(load(row + j) - top));
    return top;
}

// A sum below this may have lost terms that were too small for a double.
constexpr double SMALLEST_SUM = 1e-280;

// One chain from one side: `use(t, now)` at each step with the row of sums; before it, at each but the first,
// `moved(lifts, sums, raw, exact)` with exp(row of the step before - its largest) and its product with the weights.
// Where that product is too small to be right, it is set to 0, and `exact` has the logarithm of the sum, `raw` the row
// of the step before; null if there is no such place. `rows`: 5.
template <class Use, class Moved>
inline void walk(
    const Chains& c, int64_t b, bool forwards, const double* weights, double shift, double* rows, Use&& use,
    Moved&& moved
) {
    const int64_t wide = c.wide(), last = c.lengths[b] - 1;
    double *raw = rows + 3 * wide, *exact = rows + 4 * wide;
    double *now = rows, *lifts = rows + wide, *sums = rows + 2 * wide;
    const double* said = c.emissions + b * c.by_chain;
    const double* edge = forwards ? c.start + b * c.by_start : c.end + b * c.by_end;
    for (int64_t k = 0; k <= last; ++k) {
        const int64_t t = forwards ? k : last - k;
        double top = 0.0;
        if (k > 0) {
            top = lifted(now, wide, lifts);
            int64_t j = 0;
            for (; j + 4 * WIDTH <= wide; j += 4 * WIDTH)
                chain_product<4>(lifts, weights + j, wide, c.classes, sums + j);
            switch ((wide - j) / WIDTH) {
                case 3: chain_product<3>(lifts, weights + j, wide, c.classes, sums + j); break;
                case 2: chain_product<2>(lifts, weights + j, wide, c.classes, sums + j); break;
                case 1: chain_product<1>(lifts, weights + j, wide, c.classes, sums + j); break;
            }
            top += shift;
        }
        bool rescued = false;
        for (int64_t j = 0; k > 0 && j < c.classes; ++j)
            if (sums[j] < SMALLEST_SUM) {
                if (!rescued) std::memcpy(raw, now, wide * sizeof(double));
                rescued = true;
                exact[j] = c.exact_sum(raw, j, forwards);
                sums[j] = 0.0;
            }
        for (int64_t j = 0; j < wide; j += WIDTH) {
            const int n = c.lanes(j);
            const Doubles here = load(said + t * c.by_time + j, n);
            if (k > 0)
                store<double>(now + j, logarithm(load(sums + j)) + top + here);  // behind the last class: log 0
            else
                store_lanes(now, load(edge + j, n), said + t * c.by_time, j, c.classes);
        }
        for (int64_t j = 0; rescued && j < c.classes; ++j)
            if (sums[j] == 0.0) now[j] = exact[j] + said[t * c.by_time + j];
        if (k > 0) moved(lifts, sums, rescued ? raw : nullptr, exact);
        use(t, now);
    }
}

// log Z: the sums at the last step and the end.
inline double chain_total(const Chains& c, int64_t b, double* rows) {
    const int64_t wide = c.wide();
    double sum = 0.0;
    for (int64_t j = 0; j < c.classes; ++j) rows[j] += c.end[b * c.by_end + j];
    const double top = lifted(rows, wide, rows + wide);
    for (int64_t j = 0; j < wide; ++j) sum += rows[wide + j];
    return std::log(sum) + top;
}

// Up to AT_ONCE steps' expected transitions: counts[i, :] += from[s, i] to[s, :].
constexpr int AT_ONCE = 8;
inline void add_counts(const double* from, const double* to, int64_t wide, int64_t classes, double* counts) {
    for (int64_t i = 0; i < classes; ++i) {
        Doubles own[AT_ONCE];
        for (int s = 0; s < AT_ONCE; ++s) own[s] = Doubles{} + from[s * wide + i];
        for (int64_t j = 0; j < wide; j += WIDTH) {
            Doubles sum = load(counts + i * wide + j);
            for (int s = 0; s < AT_ONCE; ++s) sum += own[s] * load(to + s * wide + j);
            store(counts + i * wide + j, sum);
        }
    }
}

// ---- random numbers by place --------------------------------------------------------------------------------------

// Which of a batch's examples a row belongs to, and which step of it. `index` null: rows are 0, 1, 2, ...
struct RowOrder {
    const int64_t* index;
    int64_t inner;  // steps of each example or, with `time_first`, examples of each step
    int64_t time_first;
    int64_t example(int64_t row) const {
        const int64_t flat = index ? index[row] : row;
        return time_first ? flat % inner : flat / inner;
    }
    int64_t step(int64_t row) const {
        const int64_t flat = index ? index[row] : row;
        return time_first ? flat / inner : flat % inner;
    }
};

constexpr uint64_t GOLDEN = 0x9e3779b97f4a7c15u;

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

// The 32 random bits of one place of a row; draws.py says the same in other words.
inline uint32_t bits(uint32_t low, uint32_t high, uint32_t place) {
    uint32_t x = low + place * 0x9e3779b9u;
    x = (x ^ (x >> 16)) * 0x7feb352du ^ high;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

}  // namespace

extern "C" {

int seqkit_version() { return 7; }
int seqkit_lanes() { return Lanes<float>::n; }

void seqkit_threads_by(void* run_parallel, void* number, void* size) {
    parallel = reinterpret_cast<Parallel>(run_parallel);
    thread_number = reinterpret_cast<ThreadFunction>(number);
    team_size = reinterpret_cast<ThreadFunction>(size);
}

// Where the rows of a batch stand; see layout.py, which says the same in other words. `out`: order, place, first and last
// (B each), table (groups, 4), alive (groups x T at most, without gaps), source (N). Gives N; -1: a length is wrong.
int64_t seqkit_lay_out(const int64_t* lengths, int64_t batch, int64_t steps, int64_t groups, int64_t* out) {
    int64_t *order = out, *place = order + batch, *first = place + batch, *last = first + batch;
    int64_t *table = last + batch, *alive = table + 4 * groups, *source = alive + groups * steps;
    // Stable, from long to short, by counting: begins[l] sequences are longer than l.
    int64_t* begins = static_cast<int64_t*>(std::calloc(steps + 2, sizeof(int64_t)));
    int64_t* sorted = static_cast<int64_t*>(std::malloc(batch * sizeof(int64_t)));
    int64_t rows = begins && sorted ? 0 : -1;
    for (int64_t b = 0; b < batch && rows >= 0; ++b) {
        if (lengths[b] < 0 || lengths[b] > steps) rows = -1;
        else if (lengths[b] > 0) ++begins[lengths[b] - 1];
    }
    if (rows >= 0) {
        for (int64_t l = steps - 1; l >= 0; --l) begins[l] += begins[l + 1];
        for (int64_t b = 0; b < batch; ++b) sorted[begins[lengths[b]]++] = b;
        int64_t at = 0;
        for (int64_t g = 0; g < groups; ++g) {
            int64_t* row = table + 4 * g;
            row[0] = rows, row[1] = at, row[2] = 0;
            for (int64_t k = g; k < batch; k += groups, ++row[2]) {
                order[at + row[2]] = sorted[k];
                place[sorted[k]] = at + row[2];
            }
            row[3] = row[2] ? lengths[order[at]] : 0;
            int64_t running = row[2];
            for (int64_t t = 0; t < row[3]; ++t) {
                while (running > 0 && lengths[order[at + running - 1]] <= t) --running;
                *alive++ = running;
                for (int64_t i = 0; i < running; ++i, ++rows) {
                    const int64_t b = order[at + i];
                    if (t == 0) first[b] = rows;
                    if (t == lengths[b] - 1) last[b] = rows;
                    source[rows] = b * steps + t;
                }
            }
            at += row[2];
        }
        for (int64_t b = 0; b < batch; ++b)
            if (lengths[b] == 0) first[b] = last[b] = 0;
    }
    std::free(begins);
    std::free(sorted);
    return rows;
}

// The best path of each chain (Viterbi 1967), in double precision. Emissions are (T, B, C) by two strides; start and end
// (B, C); out: states (B, T), zero past each end, and scores (B,). Not 0: no memory.
int seqkit_best_paths(
    const double* emissions, int64_t by_time, int64_t by_chain, const double* transitions, const double* start,
    const double* end, const int64_t* lengths, int64_t steps, int64_t batch, int64_t classes, int threads,
    int64_t* states, double* scores
) {
    constexpr int L = Lanes<double>::n;
    const int64_t wide = (classes + L - 1) / L * L;
    const int64_t share = (batch + threads - 1) / threads;
    // For each job: where each state came from at each step, two rows of scores. The transitions, padded, are shared.
    const int64_t job_size = steps * wide + 2 * wide;
    double* store = static_cast<double*>(store_of_packed.take((threads * job_size + classes * wide) * sizeof(double)));
    if (!store) return 1;
    double* moves = store + threads * job_size;
    for (int64_t i = 0; i < classes; ++i)
        for (int64_t j = 0; j < wide; ++j) moves[i * wide + j] = j < classes ? transitions[i * classes + j] : -INFINITY;
    for_each(threads, threads, [&](int64_t job) {
        double* came = store + job * job_size;  // whole numbers, exact in a double, so that one comparison chooses both
        double *now = came + steps * wide, *next = now + wide;
        for (int64_t b = job * share; b < std::min(batch, (job + 1) * share); ++b) {
            const double* said = emissions + b * by_chain;
            for (int64_t j = 0; j < wide; ++j) now[j] = j < classes ? start[b * classes + j] + said[j] : -INFINITY;
            for (int64_t t = 1; t < lengths[b]; ++t) {
                said += by_time;
                for (int64_t j = 0; j < wide; j += L) {
                    Vec<double> best = now[0] + load(moves + j), from = {};
                    for (int64_t i = 1; i < classes; ++i) {
                        const Vec<double> own = now[i] + load(moves + i * wide + j);
                        const auto better = own > best;
                        best = better ? own : best;
                        from = better ? Vec<double>{} + double(i) : from;
                    }
                    store_lanes(next, best, said, j, classes);
                    ::store<double>(came + t * wide + j, from);
                }
                std::swap(now, next);
            }
            double best = now[0] + end[b * classes];
            int64_t at = 0;
            for (int64_t j = 1; j < classes; ++j)
                if (now[j] + end[b * classes + j] > best) best = now[j] + end[b * classes + j], at = j;
            scores[b] = best;
            int64_t* path = states + b * steps;
            for (int64_t t = steps - 1; t >= 0; --t) {
                if (t >= lengths[b]) {
                    path[t] = 0;
                    continue;
                }
                path[t] = at;
                if (t > 0) at = int64_t(came[t * wide + at]);
            }
        }
    });
    return 0;
}

// The sums over the paths of each chain, in log space; see `Sums` in chains.py. Out: `before`, and `after` unless it is
// null, (B, T, C), zero past each end; total (B,), -inf where no path is open; where paths are given, the score (B,) of
// each. 1: no memory; 2: a length is wrong; 3: a path is wrong.
int seqkit_chain_sums(
    const int64_t* asked, int threads, double* before, double* after, double* total, double* scores
) {
    Chains c;
    static_assert(sizeof c % sizeof(int64_t) == 0);
    std::memcpy(&c, asked, sizeof c);
    if (const int fault = c.fault()) return fault;
    const int64_t wide = c.wide(), square = c.classes * wide, job_size = 5 * wide, size = c.steps * c.classes;
    double* store = static_cast<double*>(store_of_packed.take((2 * square + c.parts() * job_size) * sizeof(double)));
    if (!store) return 1;
    const double shift = c.weights(store, store + square);
    c.each_part(threads, [&](int64_t part, int64_t first, int64_t beyond) {
        double* rows = store + 2 * square + part * job_size;
        for (int64_t b = first; b < beyond; ++b) {
            const auto nothing = [](const double*, const double*, const double*, const double*) {};
            const auto keep = [&](double* out) {
                std::fill(out + b * size + c.lengths[b] * c.classes, out + (b + 1) * size, 0.0);
                return [&c, to = out + b * size](int64_t t, const double* now) {
                    std::memcpy(to + t * c.classes, now, c.classes * sizeof(double));
                };
            };
            walk(c, b, true, store, shift, rows, keep(before), nothing);
            total[b] = chain_total(c, b, rows);
            if (c.paths) scores[b] = c.path_score(b);
            if (after) walk(c, b, false, store + square, shift, rows, keep(after), nothing);
        }
    });
    return 0;
}

// The gradient of a sum of log Z times `weight` (B,), given `before` and `total`. Out: shares (B, T, C), the weighted
// probability of each state, zero past each end; moved (C, C), of each transition; first and last (B, C), of each edge.
// A chain without an open path has none. Where paths are given: of log Z less the path's score. Not 0: as above.
int seqkit_chain_gradient(
    const int64_t* asked, int threads, const double* before, const double* total, const double* weight, double* shares,
    double* moved, double* first, double* last
) {
    Chains c;
    std::memcpy(&c, asked, sizeof c);
    if (const int fault = c.fault()) return fault;
    const int64_t wide = c.wide(), square = c.classes * wide, size = c.steps * c.classes;
    const int64_t job_size = 2 * square + (6 + 2 * AT_ONCE) * wide;
    double* block = static_cast<double*>(store_of_packed.take((2 * square + c.parts() * job_size) * sizeof(double)));
    if (!block) return 1;
    double* jobs = block + 2 * square;
    const double shift = c.weights(block, block + square);
    std::fill(jobs, jobs + c.parts() * job_size, 0.0);
    c.each_part(threads, [&](int64_t part, int64_t from, int64_t beyond) {
        // Counts are yet to be multiplied with the weights; those of `exact_counts` are not.
        double *counts = jobs + part * job_size, *exact_counts = counts + square;
        double *rows = exact_counts + square, *own = rows + 5 * wide;
        double *left = own + wide, *right = left + AT_ONCE * wide;
        for (int64_t b = from; b < beyond; ++b) {
            const double *starts = before + b * size, *said = c.emissions + b * c.by_chain, g = weight[b];
            const double whole = total[b] > LOWEST || total[b] != total[b] ? total[b] : LOWEST;
            double* out = shares + b * size;
            int kept = 0;
            // The shares of this step, unweighted, are in `own` once `row` says what there is from here on.
            const auto share = [&](int64_t t, const double* row) {
                for (int64_t j = 0; j < wide; j += WIDTH) {
                    const int n = c.lanes(j);
                    const Doubles there = load(starts + t * c.classes + j, n), here = load(said + t * c.by_time + j, n);
                    store<double>(own + j, exponential(there + (load(row + j) - here) - whole));
                    store<double>(out + t * c.classes + j, load(own + j) * g, n);
                }
            };
            // P(i, j) = P(i) w(i, j) e(j) / sum over j of the same. Where nothing leads on from i, P(i) is zero.
            const auto count = [&](const double* lifts, const double* sums) {
                for (int64_t j = 0; j < wide; j += WIDTH) {
                    const Doubles sum = load(sums + j);
                    Doubles each = load(own + j) / sum;
                    each = sum == 0.0 ? Doubles{} : each;
                    each = each > 1e290 ? Doubles{} + 1e290 : each;
                    store<double>(left + kept * wide + j, each * g);
                    store<double>(right + kept * wide + j, load(lifts + j));
                }
                if (++kept < AT_ONCE) return;
                add_counts(left, right, wide, c.classes, counts);
                kept = 0;
            };
            const auto count_exactly = [&](const double* sums, const double* raw, const double* exact) {
                for (int64_t i = 0; i < c.classes; ++i) {
                    if (sums[i] != 0.0 || own[i] == 0.0) continue;
                    for (int64_t j = 0; j < c.classes; ++j)
                        exact_counts[i * wide + j] +=
                            g * own[i] * std::exp(raw[j] + c.transitions[i * c.classes + j] - exact[i]);
                }
            };
            const double *lifts = nullptr, *sums = nullptr, *raw = nullptr, *exact = nullptr;
            walk(
                c, b, false, block + square, shift, rows,
                [&](int64_t t, const double* now) {
                    share(t, now);
                    if (raw) count_exactly(sums, raw, exact);
                    if (lifts) count(lifts, sums);
                    if (c.paths) out[t * c.classes + c.path(b)[t]] -= g;
                },
                [&](const double* lift, const double* sum, const double* row, const double* total_of) {
                    lifts = lift, sums = sum, raw = row, exact = total_of;
                }
            );
            if (kept) {
                std::fill(left + kept * wide, left + AT_ONCE * wide, 0.0);
                std::fill(right + kept * wide, right + AT_ONCE * wide, 0.0);
                add_counts(left, right, wide, c.classes, counts);
            }
            std::memcpy(first + b * c.classes, out, c.classes * sizeof(double));
            std::memcpy(last + b * c.classes, out + (c.lengths[b] - 1) * c.classes, c.classes * sizeof(double));
            std::fill(out + c.lengths[b] * c.classes, out + size, 0.0);
        }
    });
    for (int64_t i = 0; i < c.classes; ++i)
        for (int64_t j = 0; j < c.classes; ++j) {
            double sum = 0.0, exact_sum = 0.0;
            for (int64_t part = 0; part < c.parts(); ++part) {
                const double* counts = jobs + part * job_size + i * wide + j;
                sum += counts[0], exact_sum += counts[square];
            }
            moved[i * c.classes + j] = sum * block[i * wide + j];
            if (exact_sum != 0.0) moved[i * c.classes + j] += exact_sum;
        }
    for (int64_t b = 0; c.paths && b < c.batch; ++b)
        for (int64_t t = 1; t < c.lengths[b]; ++t) moved[c.path(b)[t - 1] * c.classes + c.path(b)[t]] -= weight[b];
    return 0;
}

// For each number of (rows, width): out = x * scale where its random bits are at least `least`, else 0. Without x: a
// number in [0, 1) from its bits. `numbers` (B,) tell the examples of a step apart; `call` counts the calls in a pass.
void seqkit_draw(
    const int64_t* numbers, int64_t of_step, const int64_t* index, int64_t inner, int64_t time_first, int64_t rows,
    int64_t width, int64_t call, int64_t least, double scale, const float* x, float* out, int threads
) {
    const RowOrder order{index, inner, time_first};
    const int64_t at_once = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width));
    const uint32_t limit = uint32_t(least);
    const float factor = float(scale);
    for_each((rows + at_once - 1) / at_once, threads, [&](int64_t job) {
        for (int64_t row = job * at_once; row < std::min(rows, (job + 1) * at_once); ++row) {
            const uint64_t place = uint64_t(call) << 40 | uint64_t(order.step(row));
            const uint64_t example = mix(uint64_t(numbers[order.example(row)]) * GOLDEN + uint64_t(of_step));
            const uint64_t key = mix(example + place * GOLDEN);
            const uint32_t low = uint32_t(key), high = uint32_t(key >> 32), count = uint32_t(width);
            float* to = out + row * width;
            if (const float* from = x ? x + row * width : nullptr)
                for (uint32_t i = 0; i < count; ++i) to[i] = from[i] * (bits(low, high, i) >= limit ? factor : 0.0f);
            else
                for (uint32_t i = 0; i < count; ++i) to[i] = float(int32_t(bits(low, high, i) >> 8)) * 0x1p-24f;
        }
    });
}

// All directions of a layer at once. `asked`: `count` passes and behind them the layout, all fields of 64 bits.
// `wide`: double instead of single precision. Not 0: no memory.
int seqkit_run(const int64_t* asked, int64_t count, int threads, int wide, int back) {
    return wide ? run_asked<SameType<double>>(asked, count, threads, back)
                : run_asked<SameType<float>>(asked, count, threads, back);
}

}
