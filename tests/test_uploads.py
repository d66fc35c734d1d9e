"""What is computed from lengths goes to a GPU once a batch, and is computed ahead for the batches that follow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkit import uploads
from seqkit.interfaces import Asked, Batch
from seqkit.kernels.ragged import last_rows, real_rows, reversed_rows

CUDA = torch.device("cuda")
RULES = [uploads.inside, uploads.last_steps, uploads.real_lengths, last_rows, real_rows, reversed_rows]


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is copied to the device, which is the CPU here."""
    tensors: list[Tensor] = []

    def upload(tensor: Tensor, device: torch.device, **options: object) -> Tensor:
        assert device == CUDA
        tensors.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(uploads, "upload", upload)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self.clone())
    return tensors


def test_on_a_cpu_nothing_is_kept() -> None:
    lengths = torch.tensor([3, 1])
    first, second = (uploads.from_lengths(uploads.inside, lengths, 3, torch.device("cpu")) for _ in range(2))
    assert first is not second
    assert first.tolist() == [[True, True, True], [True, False, False]]


@pytest.mark.parametrize("rule", RULES)
def test_one_copy_a_batch(rule: uploads.Rule, copied: list[Tensor]) -> None:
    lengths = torch.tensor([3, 1, 2])
    first = uploads.from_lengths(rule, lengths, 4, CUDA)
    assert uploads.from_lengths(rule, lengths, 4, CUDA) is first
    assert len(copied) == 1
    assert torch.equal(first, rule(lengths, 4))
    assert uploads.from_lengths(rule, torch.tensor([3, 1, 2]), 4, CUDA) is not first


def test_lengths_that_were_changed_in_place_are_other_lengths(copied: list[Tensor]) -> None:
    lengths = torch.tensor([3, 1])
    uploads.from_lengths(uploads.inside, lengths, 3, CUDA)
    lengths[1] = 2
    assert uploads.from_lengths(uploads.inside, lengths, 3, CUDA).sum() == 5


def test_a_copy_for_inference_is_not_used_in_training(copied: list[Tensor]) -> None:
    lengths = torch.tensor([3, 1])
    with torch.inference_mode():
        first = uploads.from_lengths(uploads.inside, lengths, 3, CUDA)
    second = uploads.from_lengths(uploads.inside, lengths, 3, CUDA)
    assert first.is_inference()
    assert not second.is_inference()


def test_what_a_batch_was_asked_for_is_computed_ahead_for_the_next(copied: list[Tensor]) -> None:
    asked, computed = Asked(), list[int]()

    def rule(lengths: Tensor, steps: int) -> Tensor:
        computed.append(steps)
        return lengths + steps

    def batch(width: int) -> Batch:
        return Batch(torch.zeros(2, width), torch.tensor([2, 1]), torch.zeros(2, 3), torch.tensor([3, 1]))

    first = batch(4).pin(asked)
    assert not computed
    uploads.from_lengths(rule, first.lengths, 4, CUDA)
    uploads.from_lengths(uploads.inside, first.y_lengths, 3, CUDA)  # type: ignore[arg-type]
    uploads.from_lengths(uploads.last_steps, first.lengths, 9, CUDA)  # of another padded length: not of this batch
    asked.note([first])
    assert (asked.inputs, asked.targets) == ({rule}, {uploads.inside})
    computed.clear()
    second = batch(6).pin(asked)
    assert computed == [6]
    assert uploads.from_lengths(rule, second.lengths, 6, CUDA).tolist() == [8, 7]
    assert computed == [6], "it was computed ahead"


def test_tensors_of_the_cpu_are_read_back_as_they_are() -> None:
    tensors = torch.ones(2), torch.zeros(1)
    assert all(one is other for one, other in zip(uploads.read_back(*tensors), tensors, strict=True))
    assert uploads.ReadBack(*tensors).wait() == tensors


def test_a_batch_on_a_device_keeps_its_targets_on_the_cpu() -> None:
    batch = Batch(torch.zeros(2, 3), torch.tensor([3, 2]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]))
    assert batch.y_on_cpu is batch.y
    moved = batch.to("meta")
    assert moved.y is not None
    assert moved.y.is_meta
    assert moved.y_on_cpu is batch.y
    assert moved.take([1]).trimmed().y_on_cpu.tolist() == [[3]]


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's memory is the CPU's."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self.clone())
    monkeypatch.setattr(Tensor, "to", lambda self, *args, **options: self.clone())


@pytest.mark.usefixtures("on_device")
def test_a_graph_reads_where_it_read_before() -> None:
    inputs, step = uploads.GraphInputs(), 1

    def draw() -> Tensor:
        return torch.full((2,), step)

    def compute() -> tuple[Tensor, Tensor]:
        mask = uploads.from_lengths(uploads.inside, torch.tensor([2, 2]), 2, CUDA)
        return uploads.upload(draw(), CUDA, again=draw), mask

    with inputs.record():
        drawn, mask = compute()
    with inputs.reuse():
        again, mask_again = compute()
    assert again is drawn
    assert mask_again is mask
    step = 7
    inputs.refresh()
    assert drawn.tolist() == [7, 7]
    assert mask.all()


@pytest.mark.usefixtures("on_device")
def test_what_only_the_cpu_knows_is_in_no_graph() -> None:
    inputs = uploads.GraphInputs()
    with inputs.record(), pytest.raises(uploads.NotRepeatable, match=r"test_uploads.py:\d+ uploads a tensor"):
        uploads.upload(torch.zeros(2), CUDA)
    with inputs.record():
        uploads.upload(torch.zeros(2), CUDA, is_fixed=True)
    with pytest.raises(uploads.NotRepeatable, match="different tensors"), inputs.reuse():
        uploads.upload(torch.zeros(3), CUDA, is_fixed=True)
    with pytest.raises(uploads.NotRepeatable, match="different tensors"), inputs.reuse():
        pass
