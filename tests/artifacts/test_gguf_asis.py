"""GGUF files a user brings: described from the header, refused in one line where damaged."""

from __future__ import annotations

import json
import random
import struct
from typing import TYPE_CHECKING

import gguf as ggml
import numpy as np
import pytest

from cpufit.artifacts import asis, gguf
from cpufit.artifacts.asis import gguf_file
from cpufit.catalog import model_of_file
from cpufit.errors import CpufitError, DataError
from cpufit.schema import Input, Model, Order
from cpufit.schema.shapes import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cpufit.precisions import Precision

    Make = Callable[[Precision], Path]

TINY = Decoder(
    arch="llama",
    layers=2,
    hidden=256,
    ffn=512,
    heads=4,
    kv_heads=2,
    head_dim=64,
    vocab=300,
    context=512,
)


def precision_of(file: Path) -> Precision:
    return asis.about(file, model_of_file(file)).precision


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder = tmp_path_factory.mktemp("gguf")

    def build(precision: Precision) -> Path:
        model = Model(
            name=f"tiny-{precision}",
            title="Tiny",
            family="llm",
            parameters=0,
            macs=0,
            source="test",
            decoder=TINY,
        )
        asked = Order(
            builder="asis",
            model=model,
            precision=precision,
            runtime="llama.cpp",
            weights="synthetic",
        )
        return gguf.build(asked, folder).file

    return build


def request(file: Path) -> Order:
    return Order(
        builder="asis",
        model=model_of_file(file),
        precision="int4",
        runtime="llama.cpp",
        weights="real",
        real_file=file,
    )


def write(file: Path, **numbers: int) -> Path:
    """Write a header with these keys ('__' for a dot) and one small F32 tensor."""
    writer = ggml.GGUFWriter(file, "llama")
    for key, value in numbers.items():
        writer.add_uint32(key.replace("__", "."), value)
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("precision", "name"), [("fp16", "F16"), ("int8", "Q8_0"), ("int4", "Q4_K_M")]
)
def test_our_own_files_describe_themselves(
    make: Make, tmp_path: Path, precision: Precision, name: str
) -> None:
    file = make(precision)
    built = asis.build(request(file), tmp_path)
    assert built.file == file
    assert built.format == name
    assert built.kv_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert (
        built.parameters
        == 2 * 300 * 256 + 2 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512 + 2 * 256) + 256
    )
    assert "context 512 tokens" in built.notes[0]
    assert asis.estimate_bytes(request(file)) == file.stat().st_size
    assert precision_of(file) == precision
    assert list(tmp_path.iterdir()) == []


def test_format_is_counted_where_the_file_type_is_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "x.gguf")
    assert gguf_file.inspect(file, model_of_file(file)).format == "F32"
    assert gguf_file.about(file).precision == "fp32"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("Q4_0", "int4"), ("Q5_0", "int4"), ("Q6_K", "int8"), ("Q8_0", "int8"), ("BF16", "bf16")],
)
def test_precision_is_the_nearest(tmp_path: Path, kind: str, expected: Precision) -> None:
    file, type_ = tmp_path / "x.gguf", ggml.GGMLQuantizationType[kind]
    block, size = ggml.GGML_QUANT_SIZES[type_]
    writer = ggml.GGUFWriter(file, "llama")
    data = np.zeros((4, 256 // block * size), np.uint8)
    writer.add_tensor("token_embd.weight", data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert precision_of(file) == expected


def test_cache_size_follows_the_header(tmp_path: Path) -> None:
    sizes = {
        "llama__block_count": 3,
        "llama__embedding_length": 64,
        "llama__attention__head_count": 4,
    }
    file = write(tmp_path / "a.gguf", **sizes)
    assert gguf_file.inspect(file, model_of_file(file)).kv_bytes_per_token == 3 * 4 * (16 + 16) * 2
    more = sizes | {
        "llama__attention__head_count_kv": 1,
        "llama__attention__key_length": 24,
        "llama__attention__value_length": 8,
        "llama__attention__sliding_window": 128,
        "llama__expert_count": 8,
    }
    file = write(tmp_path / "b.gguf", **more)
    built = gguf_file.inspect(file, model_of_file(file))
    assert built.kv_bytes_per_token == 3 * 1 * (24 + 8) * 2
    assert [note.split(":")[0] for note in built.notes[1:]] == [
        "sliding window",
        "mixture of experts",
    ]


def test_vocabulary_is_no_model(tmp_path: Path) -> None:
    writer = ggml.GGUFWriter(tmp_path / "v.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with pytest.raises(DataError, match="holds no weights"):
        precision_of(tmp_path / "v.gguf")


def test_encoders_are_given_ids(tmp_path: Path) -> None:
    file = tmp_path / "e.gguf"
    writer = ggml.GGUFWriter(file, "bert")
    writer.add_causal_attention(False)
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    built = gguf_file.inspect(file, model_of_file(file))
    assert built.inputs == (
        Input(name="input_ids", dtype="int32", shape=("batch", 128), fill="ids:4"),
    )


@pytest.mark.parametrize("keep", [0, 3, 4, 20, 100, 900, 5000, -20_000, -32])
def test_every_cut_is_noticed(make: Make, tmp_path: Path, keep: int) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(make("int4").read_bytes()[:keep])
    with pytest.raises(
        CpufitError, match=r"(no whole GGUF file: |is cut short: |is empty).*; copy or"
    ) as caught:
        asis.build(request(file), tmp_path)
    assert "\n" not in str(caught.value)


def test_damage_is_a_data_error_or_goes_unseen(make: Make, tmp_path: Path) -> None:
    """Random bytes in the header never raise anything but words."""
    file, content = tmp_path / "x.gguf", make("int4").read_bytes()
    refused = 0
    for seed in range(200):
        draw, damaged = random.Random(seed), bytearray(content)
        for _ in range(draw.randrange(1, 6)):
            damaged[draw.randrange(1500)] = draw.randrange(256)
        file.write_bytes(damaged)
        try:
            gguf_file.inspect(file, model_of_file(file))
        except CpufitError:
            refused += 1
    assert 20 < refused < 200


@pytest.mark.parametrize("kind", [0, 4, 8, 9])
def test_endless_array_is_refused_at_once(tmp_path: Path, kind: int) -> None:
    file = tmp_path / "x.gguf"
    key = struct.pack("<Q1s", 1, b"k") + struct.pack("<IIQ", 9, kind, 2**60)
    file.write_bytes(struct.pack("<IIQQ", ggml.GGUF_MAGIC, 3, 0, 1) + key + bytes(1000))
    with pytest.raises(DataError, match="is no whole GGUF file"):
        precision_of(file)


def test_cut_says_how_much_is_there(tmp_path: Path) -> None:
    file = write(tmp_path / "x.gguf")
    whole = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(DataError, match=f"it holds {whole - 12} B of {whole} B"):
        precision_of(file)


def test_missing_and_unreadable_files(tmp_path: Path, make: Make) -> None:
    model = model_of_file(make("int4"))
    with pytest.raises(DataError, match="No such file"):
        gguf_file.inspect(tmp_path / "none.gguf", model)
    with pytest.raises(DataError, match="Is a directory"):
        gguf_file.inspect(tmp_path, model)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"kind of model model\.bin is; name it by .*\.gguf"):
        asis.build(request(file), tmp_path)


def test_timings_go_to_the_fake_runtime(tmp_path: Path) -> None:
    file = tmp_path / "a.timings"
    file.write_text(json.dumps({"infer_ms": 1}))
    built = asis.build(request(file), tmp_path)
    assert (built.file, built.format, precision_of(file)) == (file, "timings", "fp32")
    file.write_text("{")
    with pytest.raises(DataError, match="is not valid JSON"):
        asis.build(request(file), tmp_path)
