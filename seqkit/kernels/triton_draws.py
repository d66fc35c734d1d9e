"""Dropout by example as one kernel for a GPU, in Triton: the bits of `seqkit.kernels.draws`, drawn in place."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def drop(x, keys, out, count, width, least, scale, BLOCK: tl.constexpr):
    """Each number of x (N, W) times `scale`, or times zero where its bits are below `least`.

    Args:
        x, out: `count` numbers, one row after the other.
        keys: (N, 2) int32, the low and the high half of each row's 64 bits.
        width: W.
        scale: as the numbers' type has it.
    """
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    row = place // width
    low = tl.load(keys + 2 * row, mask=inside, other=0).to(tl.uint32, bitcast=True)
    high = tl.load(keys + 2 * row + 1, mask=inside, other=0).to(tl.uint32, bitcast=True)
    bits = low + (place % width).to(tl.uint32) * 0x9E3779B9
    bits = ((bits ^ (bits >> 16)) * 0x7FEB352D) ^ high
    bits = (bits ^ (bits >> 15)) * 0x846CA68B
    bits = bits ^ (bits >> 16)
    value = tl.load(x + place, mask=inside, other=0.0)
    factor = tl.where(bits.to(tl.int64) >= least, scale, 0.0)
    tl.store(out + place, (value.to(tl.float32) * factor).to(value.dtype), mask=inside)
