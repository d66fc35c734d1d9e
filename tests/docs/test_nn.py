"""The code of docs/nn.md runs as it stands."""

from __future__ import annotations

from typing import Any

import torch

from tests.helpers.pages import PAGES, blocks


def test_the_code_of_the_page_runs() -> None:
    torch.manual_seed(1)
    code = blocks(PAGES["docs/nn.md"], "python")
    assert len(code) == 5
    namespace: dict[str, Any] = {}
    for number, block in enumerate(code):
        exec(compile(block, f"docs/nn.md, block {number + 1}", "exec"), namespace)
    assert namespace["log_likelihood"] < 0
