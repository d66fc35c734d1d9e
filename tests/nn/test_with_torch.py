"""What torch does with its modules can be done with ours: copy, cast, freeze, reparametrise, compile, export."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, rnn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import seqkit.nn
from seqkit.kernels import use
from seqkit.nn import layers
from seqkit.runtime.precision import has_fast_bf16, has_onednn_bf16
from tests.helpers.native import require_native

CELLS: dict[str, tuple[type[nn.RNNBase], type[nn.RNNBase]]] = {
    "LSTM": (nn.LSTM, seqkit.nn.LSTM),
    "GRU": (nn.GRU, seqkit.nn.GRU),
    "RNN": (nn.RNN, seqkit.nn.RNN),
}
LENGTHS = [5, 2, 1, 3]


@pytest.fixture(autouse=True)
def native() -> Iterator[None]:
    require_native()
    with use("auto"):
        yield


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each implementation was chosen, and whether dynamo was tracing then."""
    counts: Counter[str] = Counter()
    choose = layers.choose

    def counted(*args: Any, **options: Any) -> Any:
        dispatch = choose(*args, **options)
        counts[dispatch.name + (" while compiling" if torch.compiler.is_compiling() else "")] += 1
        return dispatch

    monkeypatch.setattr(layers, "choose", counted)
    return counts


def pair(name: str, **options: Any) -> tuple[nn.RNNBase, nn.RNNBase]:
    torch.manual_seed(4)
    reference, module = (make(3, 4, **options) for make in CELLS[name])
    module.load_state_dict(reference.state_dict())
    return reference, module


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [tensor for item in value for tensor in tensors(item)]


def outputs(module: nn.Module, form: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    x: Any = draw(5, 4, 3).to(dtype)
    if form == "lengths":
        return tensors(module(x, lengths=LENGTHS))
    if form == "packed":
        x = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    return tensors(module(x))


def assert_close(actual: list[Tensor], expected: list[Tensor], tolerance: float = 1e-5) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


FORMS = ("full", "packed")


@pytest.mark.parametrize("name", CELLS)
def test_it_is_a_torch_module_of_its_kind_with_the_same_weights(name: str) -> None:
    torchs, ours = CELLS[name]
    torch.manual_seed(7)
    reference = torchs(3, 4, 2, bidirectional=True)
    torch.manual_seed(7)
    module = ours(3, 4, 2, bidirectional=True)
    assert isinstance(module, torchs)
    assert repr(module) == repr(reference)
    assert list(module.state_dict()) == list(reference.state_dict())
    for weights, expected in reference.state_dict().items():
        assert torch.equal(module.state_dict()[weights], expected)
    reference.load_state_dict(module.state_dict())


def test_arguments_may_be_positional_as_in_torch() -> None:
    expected = repr(nn.LSTM(3, 4, 2, False, True, 0.5, True))
    assert repr(seqkit.nn.LSTM(3, 4, 2, False, True, 0.5, True)) == expected
    module = seqkit.nn.RNN(3, 4, 2, "relu", False, True, 0.5, True, dtype=torch.float64)
    reference = nn.RNN(3, 4, 2, "relu", False, True, 0.5, True, dtype=torch.float64)
    assert repr(module) == repr(reference)
    assert module.nonlinearity == "relu"
    assert module.weight_ih_l0.dtype == torch.float64


@pytest.mark.parametrize("form", [*FORMS, "lengths"])
@pytest.mark.parametrize("name", CELLS)
def test_copies_give_the_same_numbers(name: str, form: str) -> None:
    _, module = pair(name, num_layers=2)
    expected = outputs(module, form)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    copies = copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(file, weights_only=False)
    for other in copies:
        assert type(other) is type(module)
        assert all(torch.equal(one, two) for one, two in zip(outputs(other, form), expected, strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_weights_can_be_reparametrised(name: str, form: str) -> None:
    def weight_norm(module: nn.RNNBase) -> None:
        parametrizations.weight_norm(module, "weight_hh_l0")

    def orthogonal(module: nn.RNNBase) -> None:
        parametrizations.orthogonal(module, "weight_hh_l0")

    def old_weight_norm(module: nn.RNNBase) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.weight_norm(module, "weight_ih_l0")

    def pruned(module: nn.RNNBase) -> None:
        prune.l1_unstructured(module, "weight_hh_l0", 0.5)  # type: ignore[no-untyped-call, unused-ignore]

    def shared(module: nn.RNNBase) -> None:
        module.weight_hh_l1 = module.weight_hh_l0

    changes: list[Callable[[nn.RNNBase], None]] = [weight_norm, orthogonal, old_weight_norm, pruned, shared]
    for change in changes:
        results = []
        for module in pair(name, num_layers=2):
            torch.manual_seed(5)  # an orthogonal parametrisation draws numbers
            change(module)
            out = outputs(module, form)
            named = dict(module.named_parameters())
            gradients = torch.autograd.grad(sum(t.square().sum() for t in out), list(named.values()))  # type: ignore[arg-type]
            results.append((list(named), [*out, *gradients]))
        (names, expected), (own_names, actual) = results
        assert own_names == names
        assert_close(actual, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_frozen_weights_get_no_gradient_and_the_others_the_same(name: str, form: str) -> None:
    reference, module = pair(name, num_layers=2, bidirectional=True)
    for number in range(len(list(module.parameters()))):
        for one in (reference, module):
            for position, weights in enumerate(one.parameters()):
                weights.requires_grad_(position % 3 == number % 3)
                weights.grad = None
            sum(t.square().sum() for t in outputs(one, form)).backward()  # type: ignore[union-attr]
        for weights, expected in zip(module.parameters(), reference.parameters(), strict=True):
            assert (weights.grad is None) == (expected.grad is None)
            if weights.grad is not None:
                torch.testing.assert_close(weights.grad, expected.grad)


@pytest.mark.parametrize("name", CELLS)
def test_activations_can_be_checkpointed_and_kept_elsewhere(name: str) -> None:
    _, module = pair(name, num_layers=2, bidirectional=True)
    x = draw(5, 4, 3).requires_grad_()

    def run(x: Tensor) -> Tensor:
        steps: Tensor = module(x, lengths=numpy.array(LENGTHS))[0]
        return steps

    def gradients(steps: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(steps.square().sum(), [x, *module.parameters()])

    expected = gradients(run(x))
    with torch.autograd.graph.save_on_cpu():
        kept = run(x)
    for actual in (gradients(checkpoint(run, x, use_reentrant=False)), gradients(kept)):
        assert all(torch.equal(one, other) for one, other in zip(actual, expected, strict=True))
    steps = run(x)
    with torch.no_grad():
        module.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(steps)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CELLS)
def test_other_precisions(name: str, dtype: torch.dtype, form: str) -> None:
    reference, module = pair(name, num_layers=2)
    assert_close(outputs(module.to(dtype), form, dtype), outputs(reference.to(dtype), form, dtype), 1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_lengths_in_low_precision(name: str) -> None:
    _, module = pair(name)
    low = outputs(copy.deepcopy(module).bfloat16(), "lengths", torch.bfloat16)
    assert all(tensor.dtype == torch.bfloat16 for tensor in low)
    assert_close([tensor.float() for tensor in low], outputs(module, "lengths"), 3e-2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_autocast_gives_torchs_types_and_trains(name: str, form: str, runs: Counter[str]) -> None:
    reference, module = pair(name, num_layers=2)
    exact = outputs(reference, form)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = outputs(module, form)
        if has_onednn_bf16() or name != "LSTM":  # without bf16 torch's LSTM raises an error
            assert_close(actual, outputs(reference, form), 3e-2)
    assert_close([tensor.float() for tensor in actual], exact, 3e-2)
    sum(tensor.float().square().sum() for tensor in actual).backward()  # type: ignore[union-attr]
    assert all(weights.grad is not None and weights.grad.dtype == torch.float32 for weights in module.parameters())
    assert runs == {
        "padded" if name == "LSTM" and form == "full" and has_fast_bf16(torch.device("cpu")) else "native": 1
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "batch_first": True}])
@pytest.mark.parametrize("shape", [(5, 4, 3), (1, 4, 3), (5, 3)])
@pytest.mark.parametrize("name", CELLS)
def test_types_under_autocast(name: str, shape: tuple[int, ...], options: dict[str, Any], dtype: torch.dtype) -> None:
    if name == "LSTM" and dtype == torch.float32 and not has_onednn_bf16():
        pytest.skip("without bf16 in oneDNN torch's LSTM raises an error")
    reference, module = (module.to(dtype) for module in pair(name, **options))
    x = draw(*shape).to(dtype)
    for grad in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.set_grad_enabled(grad):
            assert_close(tensors(module(x)), tensors(reference(x)), 3e-2)


@pytest.mark.parametrize("name", CELLS)
def test_compiling_a_model_leaves_the_layer_as_it_is(name: str, runs: Counter[str]) -> None:
    class Tagger(nn.Module):
        def __init__(self, layer: nn.RNNBase) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.first, self.layer, self.last = nn.Linear(3, 3), layer, nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.layer(self.first(x).relu())[0])
            return out

    results, breaks = [], []
    for layer in pair(name):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        model = Tagger(layer)
        compiled = torch.compile(model, backend="eager")
        for time in (5, 7, 5):
            out = compiled(draw(time, 4, 3))
        out.square().sum().backward()
        results.append([out, *(p.grad for p in model.parameters() if p.grad is not None)])
        breaks.append(sum(torch._dynamo.utils.counters["graph_break"].values()))
    assert_close(results[1], results[0])
    assert breaks[1] == breaks[0]  # none inside
    assert runs == {"native": 3}  # not traced


def test_compiling_a_model_leaves_the_crf_as_it_is() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.out, self.crf = nn.Linear(3, 4), seqkit.nn.CRF(4)

        def forward(self, x: Tensor, tags: Tensor) -> Tensor:
            loss: Tensor = -self.crf(self.out(x), tags)
            return loss

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model, tags = Tagger(), torch.zeros(5, 4, dtype=torch.int64)
    expected = model(draw(5, 4, 3), tags)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the gradient of what comes before the CRF
        out = torch.compile(model, backend="eager")(draw(5, 4, 3), tags)
    out.backward()
    torch.testing.assert_close(out, expected)
    assert sum(torch._dynamo.utils.counters["graph_break"].values()) == 1  # around it


@pytest.mark.parametrize("name", CELLS)
def test_exporting_and_tracing_take_torchs_own_call(name: str) -> None:
    reference, module = pair(name)
    module.eval()
    x = draw(5, 4, 3)
    expected = tensors(reference(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as with torch's modules
        program = torch.export.export(module, (x,))
        assert_close(tensors(program.module()(x)), expected)
        traced = torch.jit.trace(module, (x,))  # type: ignore[no-untyped-call, unused-ignore]
    assert_close(tensors(traced(x)), expected)
    with pytest.raises(NotImplementedError, match="lengths= cannot be exported"):
        torch.export.export(module, (x,), {"lengths": LENGTHS})


@pytest.mark.parametrize("name", CELLS)
def test_functional_transforms_take_torchs_own_call(name: str) -> None:
    reference, module = pair(name)
    weights = {key: value.detach() for key, value in module.named_parameters()}

    def loss(one: nn.Module) -> Callable[[dict[str, Tensor]], Tensor]:
        return lambda values: sum(t.sum() for t in tensors(torch.func.functional_call(one, values, (draw(5, 4, 3),))))  # type: ignore[return-value]

    actual, expected = torch.func.grad(loss(module))(weights), torch.func.grad(loss(reference))(weights)
    assert_close(list(actual.values()), list(expected.values()))


def test_tensors_without_memory_take_torchs_own_call() -> None:
    module = seqkit.nn.LSTM(3, 4, device="meta")
    assert module(torch.zeros(5, 2, 3, device="meta"))[0].shape == (5, 2, 4)


MISUSE: dict[str, Callable[[nn.RNNBase], Any]] = {
    "wrong width": lambda m: m(draw(5, 4, 2)),
    "wrong type": lambda m: m(draw(5, 4, 3).double()),
    "whole numbers": lambda m: m(torch.zeros(5, 4, 3, dtype=torch.int64)),
    "four dimensions": lambda m: m(draw(5, 4, 3, 3)),
    "one dimension": lambda m: m(draw(3)),
    "no steps": lambda m: m(draw(0, 4, 3)),
    "wrong state": lambda m: m(draw(5, 4, 3), _state(m, 1, 3, 4)),
    "state of a batch for one sequence": lambda m: m(draw(5, 3), _state(m, 1, 1, 4)),
    "state of one sequence for a batch": lambda m: m(draw(5, 4, 3), _state(m, 1, 4)),
    "state of another type": lambda m: m(draw(5, 4, 3), _state(m, 1, 4, 4, dtype=torch.float64)),
    "packed, wrong width": lambda m: m(pack_padded_sequence(draw(5, 4, 2), LENGTHS, enforce_sorted=False)),
    "packed, wrong state": lambda m: m(
        pack_padded_sequence(draw(5, 4, 3), LENGTHS, enforce_sorted=False), _state(m, 1, 3, 4)
    ),
    "packed, fewer rows than steps": lambda m: m(PackedSequence(draw(5, 3), torch.tensor([2, 2, 2]))),
    "packed, growing": lambda m: m(PackedSequence(draw(5, 3), torch.tensor([2, 1, 2]))),
    "not a tensor": lambda m: m([1, 2]),
    "sparse": lambda m: m(draw(5, 4, 3).to_sparse()),
}


def _state(module: nn.RNNBase, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    h = torch.zeros(shape, dtype=dtype)
    return (h, h) if module.mode == "LSTM" else h


@pytest.mark.parametrize("mistake", MISUSE)
@pytest.mark.parametrize("name", CELLS)
def test_mistakes_raise_what_torch_raises(name: str, mistake: str) -> None:
    raised = []
    for module in pair(name):
        with pytest.raises(Exception) as caught:
            MISUSE[mistake](module)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([5, 2, 1], r"lengths must be \(4,\), one for each sequence of the batch, not \(3,\)"),
        ([5, 2, 1, 6], "lengths must be from 0 to 5; that of sequence 3 is 6"),
        ([5, -1, 1, 2], "lengths must be from 0 to 5; that of sequence 1 is -1"),
        ([5, 2, 1, 2.0], "lengths must be whole numbers, not torch.float32"),
        (torch.tensor([True] * 4), "lengths must be whole numbers, not torch.bool"),
        (torch.ones(4, 1, dtype=torch.int64), r"not \(4, 1\)"),
        (["a"] * 4, "lengths must be a list of whole numbers or a tensor"),
        (5, "lengths must be a list of whole numbers or a tensor"),
    ],
)
def test_lengths_that_do_not_fit_are_one_sentence(lengths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seqkit.nn.LSTM(3, 4)(draw(5, 4, 3), lengths=lengths)


def test_lengths_belong_to_a_padded_batch() -> None:
    module = seqkit.nn.GRU(3, 4)
    with pytest.raises(ValueError, match="packed sequences have their lengths already"):
        module(pack_padded_sequence(draw(5, 4, 3), LENGTHS, enforce_sorted=False), lengths=LENGTHS)
    with pytest.raises(ValueError, match="lengths= needs a padded batch of three dimensions"):
        module(draw(5, 3), lengths=[5])
    with pytest.raises(RuntimeError, match="must be equal to input_size"):
        module(draw(5, 4, 2), lengths=LENGTHS)


def test_projections_are_refused() -> None:
    with pytest.raises(ValueError, match="no projections: leave proj_size at 0"):
        seqkit.nn.LSTM(3, 4, proj_size=2)
    for make in (seqkit.nn.GRU, seqkit.nn.RNN):
        with pytest.raises(TypeError, match="proj_size"):
            make(3, 4, proj_size=2)  # type: ignore[call-arg]


def test_there_is_no_native_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler the modules are torch's own, and `lengths=` still works."""
    for name in CELLS:
        reference, module = pair(name)
        expected = outputs(module, "lengths")
        with use("padded"):
            assert_close(outputs(module, "full"), outputs(reference, "full"))
            assert_close(outputs(module, "lengths"), expected)


def test_every_name_of_torch_is_there_and_is_torchs_own() -> None:
    own = {*seqkit.nn.__all__, "utils"}
    names = [name for name in dir(nn) if not name.startswith("_")]
    of_seqkit = {"CRF", "draw_normal", "draw_uniform", "reverse_sequences", "stack_cells"}
    assert own - of_seqkit - {"pack_padded_sequence", "pad_packed_sequence"} <= {*names}
    assert [name for name in names if getattr(seqkit.nn, name) is not getattr(nn, name)] == sorted(own & {*names})
    assert {*names} <= {*dir(seqkit.nn)}
    assert seqkit.nn.utils.clip_grad_norm_ is nn.utils.clip_grad_norm_
    changed = {"pack_padded_sequence", "pad_packed_sequence"}
    assert set(rnn.__all__) == set(seqkit.nn.utils.rnn.__all__)
    for name in rnn.__all__:
        assert (getattr(seqkit.nn.utils.rnn, name) is getattr(rnn, name)) == (name not in changed)
    with pytest.raises(AttributeError, match=r"seqkit\.nn\.utils.*'clip'"):
        seqkit.nn.utils.clip  # noqa: B018
