// Some steps of a stack of recurrent layers, for sequences that come in pieces: one call for all layers.
//
// A step reads every weight once and does little with it, so what counts is that weights come in the order in which they
// are used: they are packed once, when a stream is opened. Vectors, gates and threads are those of native.cpp, which is
// compiled in and stays as it is. Each number is summed in the same order whatever stands beside it.
//
// Letters: B sequences, T time, D width of an input step, H width of a state, G gates, L lanes of a vector.

#include "native.cpp"

namespace {

#if defined(__AVX512F__)
constexpr int ROWS = 3;  // of a tile: three times four gates in two sums each leave registers for the weights
#else
constexpr int ROWS = 1;
#endif

// One layer. `packed`: for each block of L units, for each of D inputs and then H states, G vectors. `bias`: for each
// block one vector for each gate; GRU: reset, update, and both of the new gate. `norm`: null, or weight (H,), bias (H,)
// and the number that is added to the variance. `gate`: null, or for each block a vector for each of H inputs, and a bias.
struct SeqkitLayer {
    int64_t kind, width, hidden, residual;
    const float* packed;
    const float* bias;
    const float* norm;
    const float* gate;
};

// What one sequence has and gets. c is null but for an LSTM.
struct SeqkitSequence {
    const float* h;  // (layers, H)
    const float* c;
    float* new_h;
    float* new_c;
    int64_t steps;
};

// sum[m][g] += x[m, :] . w[:, g], several sums side by side, so that no addition waits for the one before it.
template <int G, int M>
inline const float* add_product(const float* const* x, int64_t depth, const float* w, Vec<float> (&sum)[M][G]) {
    constexpr int L = Lanes<float>::n, APART = G == 1 ? 8 : 2;
    Vec<float> sums[APART][M][G] = {};
    int64_t k = 0;
    for (; k + APART <= depth; k += APART)
#pragma GCC unroll 8
        for (int a = 0; a < APART; ++a, w += G * L) {
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) {
                const Vec<float> weight = load(w + g * L);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) sums[a][m][g] += x[m][k + a] * weight;
            }
        }
    for (; k < depth; ++k, w += G * L)
        for (int g = 0; g < G; ++g)
            for (int m = 0; m < M; ++m) sums[0][m][g] += x[m][k] * load(w + g * L);
    for (int a = 0; a < APART; ++a)
        for (int m = 0; m < M; ++m)
            for (int g = 0; g < G; ++g) sum[m][g] += sums[a][m][g];
    return w;
}

// One block of L units of M sequences: `x` and `h` before the step, c (in and out) and the new h at the block's units.
template <int M>
void step_block(const SeqkitLayer& layer, int64_t block, const float* const* x, const float* const* h,
                const float* const* c, float* const* new_c, float* const* new_h) {
    constexpr int L = Lanes<float>::n;
    const int64_t depth = layer.width + layer.hidden, unit = block * L;
    const int n = int(std::min<int64_t>(L, layer.hidden - unit));
    if (layer.kind == LSTM) {
        Vec<float> sum[M][4] = {};
        const float* w = layer.packed + block * depth * 4 * L;
        const float* b = layer.bias + block * 4 * L;
        w = add_product<4, M>(x, layer.width, w, sum);
        add_product<4, M>(h, layer.hidden, w, sum);
        for (int m = 0; m < M; ++m) {
            const Vec<float> enter = sigmoid(sum[m][0] + load(b)), keep = sigmoid(sum[m][1] + load(b + L));
            const Vec<float> fresh = hyperbolic(sum[m][2] + load(b + 2 * L)), show = sigmoid(sum[m][3] + load(b + 3 * L));
            const Vec<float> memory = enter * fresh + keep * load(c[m] + unit, n);
            store(new_c[m] + unit, memory, n);
            store(new_h[m] + unit, show * hyperbolic(memory), n);
        }
    } else if (layer.kind == GRU) {
        Vec<float> given[M][3] = {}, before[M][3] = {};
        const float* w = layer.packed + block * depth * 3 * L;
        const float* b = layer.bias + block * 4 * L;
        w = add_product<3, M>(x, layer.width, w, given);
        add_product<3, M>(h, layer.hidden, w, before);
        for (int m = 0; m < M; ++m) {
            const Vec<float> reset = sigmoid(given[m][0] + before[m][0] + load(b));
            const Vec<float> update = sigmoid(given[m][1] + before[m][1] + load(b + L));
            const Vec<float> again = before[m][2] + load(b + 3 * L);
            const Vec<float> fresh = hyperbolic(given[m][2] + load(b + 2 * L) + reset * again);
            store(new_h[m] + unit, fresh - update * fresh + update * load(h[m] + unit, n), n);
        }
    } else {
        Vec<float> sum[M][1] = {};
        const float* w = layer.packed + block * depth * L;
        w = add_product<1, M>(x, layer.width, w, sum);
        add_product<1, M>(h, layer.hidden, w, sum);
        for (int m = 0; m < M; ++m) {
            const Vec<float> value = sum[m][0] + load(layer.bias + block * L);
            const Vec<float> kept = value < 0.0f ? Vec<float>{} : value;
            store(new_h[m] + unit, layer.kind == TANH ? hyperbolic(value) : kept, n);
        }
    }
}

// `first` to `last` of the blocks of one layer, for all sequences.
void step_blocks(const SeqkitLayer& layer, int64_t first, int64_t last, int64_t rows, const float* const* x,
                 const float* const* h, const float* const* c, float* const* new_c, float* const* new_h) {
    const Flushed flushed;
    for (int64_t block = first; block < last; ++block) {
        int64_t m = 0;
        if constexpr (ROWS == 3)
            for (; m + 3 <= rows; m += 3) step_block<3>(layer, block, x + m, h + m, c + m, new_c + m, new_h + m);
        for (; m < rows; ++m) step_block<1>(layer, block, x + m, h + m, c + m, new_c + m, new_h + m);
    }
}

// Mixes a layer's input into its new h by its gate. Not into what is passed on: that may be where x is.
void mix(const SeqkitLayer& layer, const float* x, float* h) {
    constexpr int L = Lanes<float>::n;
    const int64_t H = layer.hidden;
    const Flushed flushed;
    const float* w = layer.gate;
    for (int64_t unit = 0; unit < H; unit += L, w += L) {
        const int n = int(std::min<int64_t>(L, H - unit));
        Vec<float> sum[1][1] = {};
        w = add_product<1, 1>(&x, H, w, sum);
        const Vec<float> gate = sigmoid(sum[0][0] + load(w)), input = load(x + unit, n);
        store(h + unit, gate * load(h + unit, n) + (input - gate * input), n);
    }
}

// What a layer passes on: its new h, with its input added or mixed in, normalised.
void pass_on(const SeqkitLayer& layer, const float* x, float* h, float* out) {
    const int64_t H = layer.hidden;
    const bool adds = layer.residual && layer.width == H;
    if (layer.gate) mix(layer, x, h);
    for (int64_t i = 0; i < H; ++i) out[i] = adds ? h[i] + x[i] : h[i];
    if (!layer.norm) return;
    double mean = 0.0, squares = 0.0;
    for (int64_t i = 0; i < H; ++i) mean += out[i];
    mean /= H;
    for (int64_t i = 0; i < H; ++i) squares += (out[i] - mean) * (out[i] - mean);
    const double scale = 1.0 / std::sqrt(squares / H + layer.norm[2 * H]);
    for (int64_t i = 0; i < H; ++i)
        out[i] = float((out[i] - mean) * scale) * layer.norm[i] + layer.norm[H + i];
}

thread_local Store store_of_steps;

}  // namespace

extern "C" {

int seqkit_step_version() { return 1; }

// Weights W (G H, D) and R (G H, H) in the order in which a step reads them; see SeqkitLayer.
void seqkit_step_pack(const float* input, const float* recurrent, int64_t gates, int64_t width, int64_t hidden, float* out) {
    constexpr int64_t L = Lanes<float>::n;
    for (int64_t unit = 0; unit < hidden; unit += L)
        for (int64_t k = 0; k < width + hidden; ++k)
            for (int64_t g = 0; g < gates; ++g)
                for (int64_t l = 0; l < L; ++l) {
                    const int64_t row = g * hidden + unit + l;
                    const bool is_real = unit + l < hidden;
                    *out++ = !is_real ? 0.0f : k < width ? input[row * width + k] : recurrent[row * hidden + k - width];
                }
}

// Up to `time` steps of `batch` sequences through all layers. x (B, T, D) and out (B, T, H) are contiguous; out is left
// as it is past the end of a sequence. Not 0: no memory.
int seqkit_step_run(const void* asked, int64_t layers, const void* sequences, int64_t batch, int64_t time, const float* x,
                    float* out, int threads) {
    const SeqkitLayer* stack = static_cast<const SeqkitLayer*>(asked);
    const SeqkitSequence* all = static_cast<const SeqkitSequence*>(sequences);
    constexpr int64_t L = Lanes<float>::n;
    const int64_t H = stack[0].hidden, D = stack[0].width, B = batch;
    const size_t numbers = size_t(B) * H * sizeof(float), pointers = size_t(B) * sizeof(void*);
    char* memory = static_cast<char*>(store_of_steps.take(2 * numbers + 5 * pointers));
    if (!memory) return 1;
    float* between = reinterpret_cast<float*>(memory);  // what a layer passes on to the next one
    float* fresh = between + B * H;                     // new h: the old one is read until the layer is done
    const float** inputs = reinterpret_cast<const float**>(memory + 2 * numbers);
    const float **h = inputs + B, **c = h + B;
    float **new_c = const_cast<float**>(c + B), **new_h = new_c + B;
    for (int64_t t = 0; t < time; ++t) {
        int64_t rows = 0;
        for (int64_t b = 0; b < B; ++b)
            if (t < all[b].steps) inputs[rows++] = x + (b * time + t) * D;
        if (!rows) break;
        for (int64_t l = 0; l < layers; ++l) {
            const SeqkitLayer& layer = stack[l];
            for (int64_t b = 0, m = 0; b < B; ++b) {
                const SeqkitSequence& one = all[b];
                if (t >= one.steps) continue;
                h[m] = (t ? one.new_h : one.h) + l * H;
                c[m] = one.c ? (t ? one.new_c : one.c) + l * H : nullptr;
                new_c[m] = one.c ? one.new_c + l * H : nullptr;
                new_h[m] = fresh + m * H;
                ++m;
            }
            const int64_t blocks = (H + L - 1) / L;
            const int64_t parts = std::min<int64_t>(threads, blocks);
            for_each(parts, threads, [&](int64_t part) {
                step_blocks(layer, blocks * part / parts, blocks * (part + 1) / parts, rows, inputs, h, c, new_c, new_h);
            });
            for (int64_t b = 0, m = 0; b < B; ++b) {
                if (t >= all[b].steps) continue;
                std::memcpy(all[b].new_h + l * H, fresh + m * H, H * sizeof(float));
                float* on = l + 1 == layers ? out + (b * time + t) * H : between + m * H;
                pass_on(layer, inputs[m], fresh + m * H, on);
                inputs[m++] = on;
            }
        }
    }
    return 0;
}

}
