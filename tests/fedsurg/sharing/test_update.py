"""Update: a vector with names; what a wire may hold; the running mean."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedsurg.errors import ContractError
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.update import Packed, RunningMean, Update, average

CONTRACT = Contract(
    (
        Entry("body.weight", "encoder", "shared", (2, 3)),
        Entry("body.q", "query", "site", (2,)),
        Entry("head.bias", "head", "shared", (4,)),
        Entry("scale", "temporal", "shared", ()),
    )
)


def update(start: float = 0.0) -> Update:
    values = np.arange(start, start + 11, dtype=np.float32)
    return Update.of({"body.weight": values[:6].reshape(2, 3), "head.bias": values[6:10], "scale": values[10]})


# Whole numbers and their products with weights are exact in float64, as are values of like magnitude.
_values = st.integers(-(2**20), 2**20).map(lambda number: number / 2**10)
_vectors = arrays.arrays(np.float32, 5, elements=_values)
_weights = st.integers(1, 10**6).map(float)


def test_a_round_trip_keeps_every_bit() -> None:
    found = Update.unpack(update(0.1).pack(), CONTRACT)
    assert found.vector.tobytes() == update(0.1).vector.tobytes()
    assert {name: value.shape for name, value in found.tensors.items()} == {
        "body.weight": (2, 3),
        "head.bias": (4,),
        "scale": (),
    }
    assert found.tensors["head.bias"].tolist() == [np.float32(value) for value in (6.1, 7.1, 8.1, 9.1)]


def test_unpacking_copies_nothing() -> None:
    packed = update().pack()
    found = Update.unpack(packed, CONTRACT)
    assert np.shares_memory(found.vector, np.frombuffer(packed.data, np.float32))


def test_no_shared_tensor_at_all() -> None:
    contract = Contract((Entry("q", "query", "site", (2,)),))
    assert Update.unpack(Update.of({}).pack(), contract).tensors == {}


def _with_value(index: int, value: float) -> bytes:
    vector = update().vector.copy()
    vector[index] = value
    return vector.tobytes()


_GOOD = update().pack()
_BAD = {
    "missing": (
        replace(_GOOD, names=_GOOD.names[:1], shapes=_GOOD.shapes[:1]),
        r"tensor 'head\.bias' is missing \(2 of 3 are\)",
    ),
    "extra": (
        replace(_GOOD, names=(*_GOOD.names, "body.q"), shapes=(*_GOOD.shapes, "2")),
        r"tensor 'body\.q' is not in the sharing contract \(1 such tensors\)",
    ),
    "twice": (
        replace(_GOOD, names=(*_GOOD.names, "scale"), shapes=(*_GOOD.shapes, "")),
        "not in the sharing contract's order, or one comes twice",
    ),
    "other order": (replace(_GOOD, names=_GOOD.names[::-1], shapes=_GOOD.shapes[::-1]), "contract's order"),
    "shape": (
        replace(_GOOD, shapes=("3x2", "4", "")),
        r"tensor 'body\.weight' has shape 3x2, the contract says 2x3",
    ),
    "one shape": (replace(_GOOD, shapes=("2x3",)), "there are 1 shapes for 3 tensors"),
    "dtype": (replace(_GOOD, dtype="float64"), "the tensors have dtype 'float64', the contract says 'float32'"),
    "oversized": (replace(_GOOD, data=_GOOD.data + bytes(4)), "have 48 bytes, their shapes need 44"),
    "cut short": (replace(_GOOD, data=_GOOD.data[:-1]), "have 43 bytes, their shapes need 44"),
    "nan": (replace(_GOOD, data=_with_value(6, np.nan)), r"tensor 'head\.bias' has values that are not finite"),
    "infinity": (replace(_GOOD, data=_with_value(10, -np.inf)), "tensor 'scale' has values that are not finite"),
}


@pytest.mark.parametrize("kind", _BAD)
def test_a_message_that_breaks_the_contract(kind: str) -> None:
    packed, message = _BAD[kind]
    with pytest.raises(ContractError, match=message):
        Update.unpack(packed, CONTRACT)


def test_a_hostile_name_is_cut() -> None:
    packed = replace(_GOOD, names=("x" * 10_000, *_GOOD.names), shapes=("1", *_GOOD.shapes))
    with pytest.raises(ContractError) as caught:
        Update.unpack(packed, CONTRACT)
    assert len(str(caught.value)) < 200


def test_algebra_by_hand() -> None:
    a, b = update(0.0), update(1.0)
    assert (b - a).vector.tolist() == [1.0] * 11
    assert (a + b).vector.tolist() == [2.0 * n + 1 for n in range(11)]
    assert a.scaled(0.5).vector.tolist() == [n / 2 for n in range(11)]
    assert a.norm() == pytest.approx(385**0.5)  # 0 + 1 + 4 + ... + 100
    assert b.distance(a) == pytest.approx(11**0.5)


def test_other_layouts_do_not_combine() -> None:
    other = Update.of({"scale": np.zeros(11, np.float32)})
    for combine in (lambda: update() + other, lambda: update() - other, lambda: update().distance(other)):
        with pytest.raises(ValueError, match="different layouts"):
            combine()


def test_a_norm_over_several_chunks() -> None:
    big = Update.of({"a": np.full(600_000, 2.0, np.float32)})
    assert big.norm() == pytest.approx(2 * 600_000**0.5, rel=1e-12)
    assert big.distance(big.scaled(0.5)) == pytest.approx(600_000**0.5, rel=1e-12)


def test_huge_values_have_a_distance() -> None:
    huge = Update.of({"a": np.full(2, 3e38, np.float32)})
    assert huge.distance(huge.scaled(-1)) == pytest.approx(6e38 * 2**0.5, rel=1e-6)


def test_a_mean_by_hand() -> None:
    mean = RunningMean()
    mean.add(update(0.0), 1.0)
    mean.add(update(4.0), 3.0)
    assert mean.mean().vector.tolist() == [n + 3.0 for n in range(11)]
    assert mean.count == 2


@given(st.lists(st.tuples(_vectors, _weights), min_size=1, max_size=6), st.randoms())
def test_the_order_of_replies_changes_no_bit(replies: list[tuple[np.ndarray, float]], order: object) -> None:
    shuffled = list(replies)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _mean(replies).vector.tobytes() == _mean(shuffled).vector.tobytes()


@given(st.lists(_vectors, min_size=1, max_size=4), st.lists(_vectors, min_size=1, max_size=4))
def test_the_mean_of_all_is_the_weighted_mean_of_the_groups(a: list[np.ndarray], b: list[np.ndarray]) -> None:
    joined = average(Update.of({"v": value}) for value in a + b)
    groups = RunningMean()
    for group in (a, b):
        groups.add(average(Update.of({"v": value}) for value in group), float(len(group)))
    np.testing.assert_allclose(groups.mean().vector, joined.vector, rtol=1e-5, atol=1e-4)


@given(_vectors, st.integers(1, 7))
def test_the_mean_of_equal_updates_is_the_update(value: np.ndarray, count: int) -> None:
    assert average([Update.of({"v": value})] * count).vector.tobytes() == (value + np.float32(0)).tobytes()


@given(_vectors, _vectors)
def test_addition_and_norm_laws(a: np.ndarray, b: np.ndarray) -> None:
    x, y = Update.of({"v": a}), Update.of({"v": b})
    assert (x + y).vector.tobytes() == (y + x).vector.tobytes()
    assert ((x + y) - y).distance(x) < 1e-2
    assert (x - y).norm() == pytest.approx(x.distance(y), rel=1e-5, abs=1e-6)
    assert (x + y).norm() <= x.norm() + y.norm() + 1e-3
    assert x.scaled(-2).norm() == pytest.approx(2 * x.norm())


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_that_is_not_positive(weight: float) -> None:
    with pytest.raises(ValueError, match="weight must be positive"):
        RunningMean().add(update(), weight)


def test_the_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="the mean of no updates does not exist"):
        RunningMean().mean()


def test_memory_does_not_grow_with_the_number_of_sites() -> None:
    assert _peak(sites=12) <= _peak(sites=2) * 1.1


def _peak(sites: int) -> int:
    tracemalloc.start()
    mean = RunningMean()
    for number in range(sites):
        mean.add(Update.of({"v": np.full(100_000, number, np.float32)}))
    mean.mean()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _mean(replies: list[tuple[np.ndarray, float]]) -> Update:
    mean = RunningMean()
    for value, weight in replies:
        mean.add(Update.of({"v": value}), weight)
    return mean.mean()


def test_packed_shapes_are_plain_text() -> None:
    assert update().pack() == Packed(
        ("body.weight", "head.bias", "scale"), ("2x3", "4", ""), np.arange(11, dtype="<f4").tobytes()
    )
