"""Sentences about mistakes in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqkit.errors import suggest
from seqkit.option_conditions import is_absence, words_of
from seqkit.recipe.hints import option_hint, value_hint
from seqkit.recipe.parser import Node

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
    "is_instance_of": "a path",
    "path_type": "a path",
}
"""What pydantic's error types expect."""

_RANGE = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
"""pydantic's error types for numbers out of range: the key of the bound, and its words."""


def explain_errors(errors: Sequence[Mapping[str, Any]], node: Node) -> str:
    """One sentence for all of pydantic's errors about one value."""
    missing = [error["loc"][-1] for error in errors if error["type"] == "missing"]
    if missing:  # pydantic reports each missing item of a list of a fixed length
        return f"must have exactly {_count(max(missing) + 1, node)}, got {_length(node)}"
    for error in errors:  # of the right type, but out of range: what other members of a union expect does not help
        if error["type"] in _RANGE:
            key, words = _RANGE[error["type"]]
            return f"must be {words} {error['ctx'][key]:g}, got {node.value}"
        if error["type"] in ("value_error", "assertion_error"):
            return str(error["ctx"]["error"])
        if error["type"] in ("too_short", "string_too_short"):
            return f"must have at least {_count(error['ctx']['min_length'], node)}, got {_length(node)}"
        if error["type"] in ("too_long", "string_too_long"):
            return f"must have at most {_count(error['ctx']['max_length'], node)}, got {_length(node)}"
    return _explain_type(errors, node)


def _explain_type(errors: Sequence[Mapping[str, Any]], node: Node) -> str:
    """A sentence for a value of the wrong type, or one that is none of the listed values."""
    listed = [error["ctx"]["expected"] for error in errors if error["type"] == "literal_error"]
    expected = [
        error["ctx"]["expected"] if error["type"] == "literal_error" else _EXPECTED[error["type"]]
        for error in errors
        if error["type"] == "literal_error" or error["type"] in _EXPECTED
    ]
    if len(expected) < len(errors):
        return "; ".join(_lower_first(error["msg"]) for error in errors) + f", got {show(node)}"
    known = [name.strip("'") for names in listed for name in names.replace(" or ", ", ").split(", ")]
    hint = suggest(node.value, known) if isinstance(node.value, str) else ""
    hint = hint or value_hint(node.value, expected)
    if not hint and "true or false" in expected and str(node.value).lower() in ("yes", "no", "on", "off", "y", "n"):
        hint = "YAML 1.2 has only true and false"
    return f"expected {' or '.join(dict.fromkeys(expected))}, got {show(node)}" + (f"; {hint}" if hint else "")


def wrong_default(path: str, error: Mapping[str, Any]) -> str:
    """The sentence for a default that does not have the type which the factory itself declares."""
    return f"{path}: its default value is wrong: {_lower_first(error['msg'])}"


def unknown_option(path: str, owner: str, use_flag: str | None) -> str:
    """The sentence for an option that a factory does not have.

    Args:
        path: of the option.
        owner: the factory.
        use_flag: the `--set` flag that chose the factory, if the option itself is in the file.
    """
    if use_flag:
        return f"{path}: '{owner}', chosen by {use_flag}, has no such option"
    return f"{path}: unknown option"


def without_effect(path: str, name: str, unmet: Mapping[str, Any]) -> tuple[str, str]:
    """The sentence for an option that has no effect, and what to do.

    Args:
        path: of the section.
        name: of the option.
        unmet: what it would need, as `only_with` has it.
    """
    beside = [join(path, other) for other, need in unmet.items() if is_absence(need)]
    needed = {other: need for other, need in unmet.items() if not is_absence(need)}
    without = [
        ": ".join(filter(None, (join(path, other), " or ".join(words_of(need))))) for other, need in needed.items()
    ]
    reasons = [f"without {' and '.join(without)}"] if without else [f"beside {' and '.join(beside)}"]
    if "folder" in unmet and unmet["folder"] is not None:
        remedy = "set folder as well ('.' is the folder of the recipe)"
    elif without:
        remedy = f"set {' and '.join(needed)} as well"
    else:
        remedy = " and ".join(f"set {other} to {'null' if need is None else 'false'}" for other, need in unmet.items())
    hint = f"{remedy}, or leave out {name}"
    return f"{join(path, name)}: has no effect {reasons[0]}", hint


def options_hint(name: str, known: Sequence[str]) -> str:
    """What to write instead: by what is known of such words, the nearest known option, or all of them."""
    if hint := option_hint(name):
        return hint
    listing = f"known: {', '.join(sorted(known))}" if known else "no options are known here"
    return suggest(name, known) or listing


def heads_hint(able: Sequence[str], others: Sequence[str]) -> str:
    """Which heads of seqkit can serve a target, and which others are installed."""
    listing = f"heads that can: {', '.join(able)}" if able else "none of seqkit's own heads can"
    return f"{listing}; perhaps also: {', '.join(others)}" if others else listing


def causal_encoder_needed(head: str, task_path: str) -> str:
    """The sentence for a bidirectional encoder under a head that predicts the next step."""
    return (
        f"encoder.bidirectional: the head '{head}' of {task_path} predicts the next step, "
        "which a bidirectional encoder has already read"
    )


def join(path: str, name: str) -> str:
    """`path.name`, or the name alone at the top level."""
    return f"{path}.{name}" if path else name


def show(node: Node) -> str:
    """A value as it is called in a sentence: `a list`, `the number 3`, `the text 'x'`."""
    value = node.value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 40 else value[:37] + '...'}'"
    return f"the number {value}"


def _count(number: int, node: Node) -> str:
    """`1 item` or `3 items`; text has characters."""
    unit = "character" if isinstance(node.value, str) else "item"
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _length(node: Node) -> str:
    """How long a value is; the value itself if it has no length."""
    return str(len(node.value)) if isinstance(node.value, (str, list, dict)) else show(node)


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
