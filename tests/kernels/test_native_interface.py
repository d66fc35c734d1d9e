"""The structs and functions that Python declares for the native library are those of `native.cpp`."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pytest

from seqkit.kernels import native_structs
from seqkit.runtime import native_library
from tests.helpers.native import require_native

SOURCE = re.sub(r"//.*", "", native_library.SOURCE.read_text())
STEP_SOURCE = re.sub(r"//.*", "", native_library.STEP_SOURCE.read_text())
BF16_SOURCE = re.sub(r"//.*", "", native_library.BF16_SOURCE.read_text())
ALIGNMENTS_SOURCE = re.sub(r"//.*", "", native_library.ALIGNMENTS_SOURCE.read_text())

SCALARS: dict[str, Any] = {
    "int": ctypes.c_int,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "void": None,
}


def declared_type(words: str) -> Any:
    """`const double*` -> c_void_p, `int64_t` -> c_int64."""
    return ctypes.c_void_p if "*" in words else SCALARS[words]


def declared_fields(struct: str) -> list[tuple[str, Any]]:
    """(name, ctypes type) of each field in the order of the source; methods come after the fields."""
    match = re.search(
        rf"^struct {struct} \{{\n(.*?)^\}};", SOURCE + STEP_SOURCE + ALIGNMENTS_SOURCE, re.MULTILINE | re.DOTALL
    )
    assert match is not None, struct
    fields = []
    for line in match[1].splitlines():
        if "(" in line:
            break
        if line.strip():
            kind, names = re.fullmatch(r"\s*((?:const )?\w+\*?) (.*);\s*", line).groups()  # type: ignore[union-attr]
            fields += [(name.strip(" *"), declared_type(kind + "*" * ("*" in name))) for name in names.split(",")]
    return fields


def declared_functions(source: str = SOURCE) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Name -> (result type, parameter name -> type) of each function with C linkage that has parameters."""
    exported = source[source.index('extern "C" {') :]
    functions = {}
    for result, name, text in re.findall(r"^(\w+) (seqkit_\w+)\(([^)]+)\) \{", exported, re.MULTILINE):
        pairs = [parameter.strip().rpartition(" ") for parameter in text.split(",")]
        functions[name] = (SCALARS[result], {parameter: declared_type(kind) for kind, _, parameter in pairs})
    return functions


STRUCTS = ["SeqkitPass", "SeqkitLayout", "Chains", "SeqkitLayer", "SeqkitSequence", "SeqkitAlignments"]


@pytest.mark.parametrize("struct", STRUCTS)
def test_struct_fields_are_those_of_the_source_in_its_order(struct: str) -> None:
    fields = declared_fields(struct)
    structure = getattr(native_structs, struct)
    assert list(structure._fields_) == fields
    assert ctypes.sizeof(structure) == 8 * len(fields)


@pytest.mark.parametrize("call", [native_structs.OneDirection, native_structs.TwoDirections])
def test_the_layout_follows_the_passes_without_a_gap(call: Any) -> None:
    count = {native_structs.OneDirection: 1, native_structs.TwoDirections: 2}[call]
    assert (call.passes.offset, call.passes.size) == (0, count * ctypes.sizeof(native_structs.SeqkitPass))
    assert call.layout.offset == call.passes.size


def test_functions_have_the_parameters_and_results_of_the_source() -> None:
    functions = declared_functions()
    assert list(functions["seqkit_run"][1]) == ["asked", "count", "threads", "wide", "back"]
    for name, (result, parameters) in native_library.FUNCTIONS.items():
        assert functions.pop(name) == (result, parameters), name
        assert list(declared_functions()[name][1]) == list(parameters), name
    assert not functions


@pytest.mark.parametrize(
    ("source", "declared"),
    [
        (STEP_SOURCE, native_library.STEP_FUNCTIONS),
        (ALIGNMENTS_SOURCE, native_library.ALIGNMENT_FUNCTIONS),
        (BF16_SOURCE, native_library.BF16_FUNCTIONS),
    ],
    ids=["steps", "alignments", "bf16"],
)
def test_functions_of_other_libraries_have_the_parameters_of_their_source(source: str, declared: Any) -> None:
    functions = declared_functions(source)
    assert functions == declared
    assert all(list(functions[name][1]) == list(declared[name][1]) for name in functions)


def test_a_misspelt_parameter_is_an_error() -> None:
    library = require_native()
    with pytest.raises(TypeError, match="required argument 'out' missing"):
        library.seqkit_lay_out(lengths=None, batch=0, steps=0, groups=1, output=None)


@pytest.mark.parametrize("struct", ["SeqkitPass", "SeqkitLayout", "OneDirection", "TwoDirections", "Chains"])
def test_a_misspelt_field_is_an_error(struct: str) -> None:
    with pytest.raises(AttributeError, match="misspelt"):
        getattr(native_structs, struct)(misspelt=1)
