"""The structs of `native.cpp` in ctypes: the same names, fields and order.

A struct is copied as raw memory, so a field out of place would corrupt memory without an error. A test compares the
fields with those declared in `native.cpp`. Every field has 64 bits: an int64, or a pointer (None is a null pointer).
`__slots__` makes a misspelt field an error: without it, ctypes would set an attribute that no C code reads.
"""

from __future__ import annotations

from ctypes import Structure, c_int64, c_void_p
from typing import TypeAlias


class SeqkitPass(Structure):
    """One direction of one layer; `seqkit.kernels.engine.Pass` says what the tensors are."""

    __slots__ = ()
    _fields_ = (
        ("kind", c_int64),
        ("hidden", c_int64),
        ("backwards", c_int64),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("gates", c_void_p),
        ("memory", c_void_p),
        ("memory_stride", c_int64),
        ("steps", c_void_p),
        ("steps_stride", c_int64),
        ("h0", c_void_p),
        ("c0", c_void_p),
        ("gradient", c_void_p),
        ("gradient_stride", c_int64),
        ("changes", c_void_p),
        ("before", c_void_p),
        ("carried", c_void_p),
    )


class SeqkitLayout(Structure):
    """The groups of sequences; see `seqkit.kernels.layout.Layout`."""

    __slots__ = ()
    _fields_ = (("groups", c_int64), ("table", c_void_p), ("alive", c_void_p))


class OneDirection(Structure):
    """What `seqkit_run` reads for a layer with one direction."""

    __slots__ = ()
    _fields_ = (("passes", SeqkitPass * 1), ("layout", SeqkitLayout))


class TwoDirections(Structure):
    """What `seqkit_run` reads for a layer with two directions."""

    __slots__ = ()
    _fields_ = (("passes", SeqkitPass * 2), ("layout", SeqkitLayout))


LayerCall: TypeAlias = OneDirection | TwoDirections


class Chains(Structure):
    """The linear chains of a batch; strides are in numbers, not in bytes."""

    __slots__ = ()
    _fields_ = (
        ("emissions", c_void_p),
        ("by_time", c_int64),
        ("by_chain", c_int64),
        ("transitions", c_void_p),
        ("start", c_void_p),
        ("by_start", c_int64),
        ("end", c_void_p),
        ("by_end", c_int64),
        ("lengths", c_void_p),
        ("paths", c_void_p),
        ("by_path", c_int64),
        ("steps", c_int64),
        ("batch", c_int64),
        ("classes", c_int64),
    )


class SeqkitLayer(Structure):
    """One layer of a stack, for `seqkit_step_run`; a struct of `native_step.cpp`."""

    __slots__ = ()
    _fields_ = (
        ("kind", c_int64),
        ("width", c_int64),
        ("hidden", c_int64),
        ("residual", c_int64),
        ("packed", c_void_p),
        ("bias", c_void_p),
        ("norm", c_void_p),
        ("gate", c_void_p),
    )


class SeqkitSequence(Structure):
    """What one sequence has before and gets after its steps; a struct of `native_step.cpp`."""

    __slots__ = ()
    _fields_ = (
        ("h", c_void_p),
        ("c", c_void_p),
        ("new_h", c_void_p),
        ("new_c", c_void_p),
        ("steps", c_int64),
    )


class SeqkitAlignments(Structure):
    """The texts of a batch and log-probabilities, for the loss of `ctc`; a struct of `native_alignments.cpp`."""

    __slots__ = ()
    _fields_ = (
        ("log_probs", c_void_p),
        ("by_sequence", c_int64),
        ("by_step", c_int64),
        ("wide", c_int64),
        ("texts", c_void_p),
        ("lengths", c_void_p),
        ("counts", c_void_p),
        ("batch", c_int64),
        ("steps", c_int64),
        ("classes", c_int64),
        ("symbols", c_int64),
        ("blank", c_int64),
    )
