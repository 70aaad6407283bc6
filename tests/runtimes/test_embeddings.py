"""Users' own GGUF files that make embeddings: read at once, and pooled as the file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf as ggml
import numpy as np
import pytest

pytest.importorskip("llama_cpp")

from tests.runtimes.test_llama_cpp import (
    ENCODER,
    SHAPES,
    artifact_of,
    card,
    cosine,
    encode,
)

from cpufit.artifacts import asis, gguf
from cpufit.artifacts.asis import gguf_file
from cpufit.catalog import model_of_file
from cpufit.runtimes import load_runtime
from cpufit.runtimes.base import LoadOptions, Step

if TYPE_CHECKING:
    from cpufit.precisions import Precision
    from cpufit.schema import Artifact


def pooled(source: Artifact, target: Path, pooling: ggml.PoolingType) -> Artifact:
    """Write the file anew with a pooling type, and describe it as a user's own."""
    reader = ggml.GGUFReader(source.path)
    arch = str(reader.fields["general.architecture"].contents())
    writer = ggml.GGUFWriter(target, arch)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, field.contents(), *field.types[:2])
    writer.add_pooling_type(pooling)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    built = gguf_file.inspect(target, model_of_file(target))
    return replace(source, path=str(target), inputs=built.inputs)


def embed(artifact: Artifact, batch: int = 1, times: int = 1) -> Any:
    session = load_runtime("llama.cpp").load(artifact, LoadOptions(threads=1, batch=batch))
    work = session.prepare(Step(kind="infer"))
    for _ in range(times):
        work.run()
    found = session.outputs()["embedding"]
    session.close()
    return found


def test_an_encoder_is_pooled_as_its_file_says(tmp_path: Path) -> None:
    precision: Precision = "fp16"
    source = artifact_of(gguf, card("encoder", encoder=ENCODER), precision, tmp_path)
    own = pooled(source, tmp_path / "own.gguf", ggml.PoolingType.MEAN)
    assert own.inputs[0].shape == ("batch", 64)  # the whole of its context, which is less than 128
    rows = encode(replace(source, inputs=own.inputs), batch=2)
    found = embed(own, batch=2)
    assert found.shape == (2, 256)
    assert cosine(found, rows.mean(1)) > 0.9999


def test_a_causal_model_that_pools_makes_embeddings(tmp_path: Path) -> None:
    source = artifact_of(gguf, card("llama", decoder=SHAPES["llama"]), "fp16", tmp_path)
    own = pooled(source, tmp_path / "own.gguf", ggml.PoolingType.LAST)
    file = Path(own.path)
    about = asis.about(file, model_of_file(file))
    assert about.family == "encoder"
    assert asis.known(model_of_file(file), about).task == "infer"
    built = gguf_file.inspect(file, model_of_file(file))
    assert built.kv_bytes_per_token == 0
    assert "reads a text at once" in built.notes[-1]
    once, again = embed(own, batch=2), embed(own, batch=2, times=3)
    assert once.shape[0] == 2
    assert not np.allclose(once[0], once[1])
    np.testing.assert_allclose(again, once, atol=1e-5)  # from an empty cache each time
