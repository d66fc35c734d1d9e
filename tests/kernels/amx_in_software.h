// The instructions of AMX that native_bf16.cpp uses, in plain C++: for processors that have none.
//
// After the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: tiles of up to 16 rows of 64 bytes;
// a product sums the even and the odd numbers of a pair apart, rounds each time, and flushes denormals.

#include <cstdint>
#include <cstring>

static thread_local unsigned char tile_memory[8][16][64];
static thread_local bool has_shapes = false;
static thread_local int tile_rows[8];

inline void tile_load_shapes(const void* shapes) {
    const auto* bytes = static_cast<const unsigned char*>(shapes);
    has_shapes = bytes[0] == 1 && bytes[1] == 0;
    for (int i = 0; i < 8; ++i) {
        tile_rows[i] = bytes[48 + i];
        has_shapes = has_shapes && bytes[16 + 2 * i] == 64 && tile_rows[i] >= 1 && tile_rows[i] <= 16;
    }
    std::memset(tile_memory, 0, sizeof tile_memory);
}
inline void tile_check() {
    if (!has_shapes) __builtin_trap();  // the processor would raise an exception
}
inline void tile_clear(int t) {
    tile_check();
    std::memset(tile_memory[t], 0, sizeof tile_memory[t]);
}
inline void tile_read(int t, const void* from, int64_t stride) {
    tile_check();
    for (int m = 0; m < tile_rows[t]; ++m)
        std::memcpy(tile_memory[t][m], static_cast<const char*>(from) + m * stride, 64);
}
inline void tile_write(int t, void* to, int64_t stride) {
    tile_check();
    for (int m = 0; m < tile_rows[t]; ++m)
        std::memcpy(static_cast<char*>(to) + m * stride, tile_memory[t][m], 64);
}
inline float tile_number(int t, int row, int place) {
    uint16_t half;
    std::memcpy(&half, tile_memory[t][row] + 2 * place, sizeof half);
    const uint32_t bits = uint32_t(half) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}
inline void tile_multiply(int sums, int a, int b) {
    tile_check();
    if (tile_rows[sums] != tile_rows[a] || tile_rows[b] != 16) __builtin_trap();
    for (int m = 0; m < tile_rows[a]; ++m)
        for (int n = 0; n < 16; ++n) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < 16; ++k) {
                even = __builtin_fmaf(tile_number(a, m, 2 * k), tile_number(b, k, 2 * n), even);
                odd = __builtin_fmaf(tile_number(a, m, 2 * k + 1), tile_number(b, k, 2 * n + 1), odd);
            }
            std::memcpy(&sum, tile_memory[sums][m] + 4 * n, sizeof sum);
            sum += even + odd;
            std::memcpy(tile_memory[sums][m] + 4 * n, &sum, sizeof sum);
        }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(shapes) tile_load_shapes(shapes)
#define _tile_release() (has_shapes = false)
#define _tile_zero(t) tile_clear(t)
#define _tile_loadd(t, from, stride) tile_read(t, from, stride)
#define _tile_stored(t, to, stride) tile_write(t, to, stride)
#define _tile_dpbf16ps(sums, a, b) tile_multiply(sums, a, b)
