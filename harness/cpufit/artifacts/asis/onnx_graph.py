"""An ONNX graph as `reach` wants it: what reads each value, also inside If, Loop and Scan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from onnx import TensorProto as Tensor

from cpufit.artifacts.asis.reach import Use, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx

    Sizes = Mapping[str, Sequence[int]]  # shapes of constants by name

_MOVING = (
    "Cast Reshape Unsqueeze Squeeze Flatten Identity Transpose Expand Tile Slice Split Gather "
    "Abs Clip"
)
_SEARCHES = ("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
WORDS = Words(
    steered={
        "If": (0,),
        "Loop": (0, 1),
        "Range": (0, 1, 2),
        "Slice": (1, 2, 3, 4),
        "Reshape": (1,),
        "Expand": (1,),
        "Tile": (1,),
        "ConstantOfShape": (0,),
        "Resize": (2, 3),
        "Upsample": (1,),
        "Pad": (1,),
        "TopK": (1,),
        "Split": (1,),
        "OneHot": (1,),
        "NonMaxSuppression": (2,),
        "NonZero": (0,),
        "Compress": (1,),
        "Unique": (0,),
        "CenterCropPad": (1,),
        "AffineGrid": (1,),
        "Col2Im": (1, 2),
        "MaxUnpool": (2,),
        "SplitToSequence": (1,),
        "DFT": (1,),
        "STFT": (1, 3),
        "MelWeightMatrix": (0, 1),
        **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow"), (0,)),
        **dict.fromkeys(_SEARCHES, range(1, 6)),
    },
    keeping={
        **dict.fromkeys(_MOVING.split(), (0,)),
        "Add": (0, 1),
        "Sub": (0,),
        "Where": (1, 2),
        "Min": range(64),
        "Max": range(64),
        "Concat": range(64),
        "": (0,),  # what a graph hands to one inside it, and back
    },
)
# A weight that is turned or converted is one still.
_PREPARING = frozenset("Cast DequantizeLinear Identity Transpose".split())
_COUNTING = frozenset((Tensor.INT16, Tensor.INT32, Tensor.INT64, Tensor.BOOL))  # shapes, indices
_FEW = 16  # numbers that are no weights, but means, factors and the like
_SIZE_ONLY = frozenset(("Shape", "Size"))
# Look-ups: operator -> (place of the table, place of what is looked up); the axis is an attribute.
_LOOKUPS: Mapping[str, Sequence[tuple[int, int]]] = {
    "Gather": ((0, 1),),
    "GatherElements": ((0, 1),),
    "GatherND": ((0, 1),),
    "GatherBlockQuantized": ((0, 1),),
    "EmbedLayerNormalization": ((2, 0), (4, 1)),
}


@dataclass(frozen=True)
class Constants:
    """What stands in a file and what is made of it before it is used."""

    sizes: Sizes
    weights: frozenset[str]  # those that were learned: what reads them makes data of its inputs


def constants_of(
    graph: onnx.GraphProto, tensors: Iterable[tuple[onnx.TensorProto, str]]
) -> Constants:
    """Return the constants of a graph: its tensors, and what nodes make of them alone."""
    sizes: dict[str, Sequence[int]] = {}
    weights: set[str] = set()
    for tensor, name in tensors:
        sizes[name] = tensor.dims
        if tensor.data_type not in _COUNTING and prod(tensor.dims) > _FEW:
            weights.add(name)
    for node in graph.node:
        if node.op_type in _PREPARING and node.input[0] in sizes:
            sizes[node.output[0]] = _prepared(node, sizes[node.input[0]])
            weights.update(node.output[:1] if node.input[0] in weights else ())
    return Constants(sizes, frozenset(weights))


def _prepared(node: onnx.NodeProto, dims: Sequence[int]) -> Sequence[int]:
    if node.op_type != "Transpose":
        return dims
    turn = next((a.ints for a in node.attribute if a.name == "perm"), range(len(dims))[::-1])
    return [dims[axis] for axis in turn] if sorted(turn) == [*range(len(dims))] else ()


def uses_of(graph: onnx.GraphProto, constants: Constants) -> dict[str, list[Use]]:
    """Return what reads each value of the graph and of those inside it."""
    uses: dict[str, list[Use]] = defaultdict(list)
    for name, use in _all_uses(graph, constants):
        uses[name].append(use)
    return uses


def _all_uses(graph: onnx.GraphProto, constants: Constants) -> Iterator[tuple[str, Use]]:
    for node in graph.node:
        learned = any(name in constants.weights for name in node.input)
        gives = () if learned or node.op_type in _SIZE_ONLY else tuple(node.output)
        for place, name in enumerate(node.input):
            yield name, Use(node.op_type, place, gives, _rows(node, place, constants.sizes))
        for inner in _inner(node):
            yield from _through(node, inner)
            yield from _all_uses(inner, constants)


def _inner(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    graphs = [inner for a in node.attribute for inner in (a.g, *a.graphs)]
    return [inner for inner in graphs if inner.node]


def _through(node: onnx.NodeProto, inner: onnx.GraphProto) -> Iterator[tuple[str, Use]]:
    """Yield how values go into a graph inside a node, out of it, and once more around."""
    ins, outs = [v.name for v in inner.input], [v.name for v in inner.output]
    if node.op_type == "If":
        for name, out in zip(outs, node.output, strict=False):
            yield name, Use("", 0, (out,))
        return
    for name, formal in zip(node.input, ins, strict=False):
        yield name, Use("", 0, (formal,))
    if node.op_type == "Loop" and outs:  # whether it goes on comes first
        yield outs[0], Use("Loop", 1)
        outs, ins = outs[1:], ins[2:]
    for place, name in enumerate(outs):
        around = (*node.output[place : place + 1], *ins[place : place + 1])
        yield name, Use("", 0, around)


def _rows(node: onnx.NodeProto, place: int, sizes: Sizes) -> int:
    """Return how many different numbers may look up there; 0 where that is no look-up."""
    for table, looking in _LOOKUPS.get(node.op_type, ()):
        dims = sizes.get(node.input[table], ()) if table < len(node.input) else ()
        if place != looking or not dims:
            continue
        if node.op_type == "GatherND":
            return int(min(dims))
        axis = next((a.i for a in node.attribute if a.name in ("axis", "gather_axis")), 0)
        return int(dims[axis]) if -len(dims) <= axis < len(dims) else 0
    return 0
