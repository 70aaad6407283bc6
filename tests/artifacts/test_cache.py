"""The cache: artifacts appear whole or not at all, are made once, and go when room is needed."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpufit.artifacts import cache, storage, timings
from cpufit.artifacts.base import Built
from cpufit.catalog import model_of_file, pick
from cpufit.errors import DataError
from cpufit.run import fit
from cpufit.schema import Order

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Event

    from cpufit.precisions import Precision
    from cpufit.schema import Artifact

REQUEST = Order(
    builder="timings",
    model=pick("mistral-7b"),
    precision="int4",
    runtime="fake",
    weights="synthetic",
)
PROCESSES = multiprocessing.get_context("spawn")


def _names(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "artifacts").iterdir())


def _folder(artifact: Artifact) -> Path:
    return Path(artifact.path).parent


def _fill(root: Path, count: int = 3) -> list[Artifact]:
    """Make artifacts of about equal size, last used a minute apart, the oldest first."""
    precisions: tuple[Precision, ...] = ("int4", "int8", "fp16", "fp32")
    made = [cache.make(replace(REQUEST, precision=p), root) for p in precisions[:count]]
    for age, artifact in enumerate(reversed(made), 1):
        then = time.time() - 60 * age
        os.utime(_folder(artifact) / storage.CARD, (then, then))
    return made


# ------------------------------------------------------------------------------------- whole or not
def test_made_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.find(REQUEST, tmp_path) is None
    made = cache.make(REQUEST, tmp_path)
    assert cache.find(REQUEST, tmp_path) == made
    monkeypatch.setattr(timings, "build", None)  # a second build would now raise
    assert cache.make(REQUEST, tmp_path) == made
    assert _names(tmp_path) == [made.key]


def test_whatever_changes_the_bytes_changes_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {cache.make(REQUEST, tmp_path).key}
    keys.add(cache.make(replace(REQUEST, precision="int8"), tmp_path).key)
    other = replace(REQUEST.model, macs=1)
    keys.add(cache.make(replace(REQUEST, model=other), tmp_path).key)
    keys.add(cache.make(replace(REQUEST, model=pick("mistral-7b@ffn60")), tmp_path).key)
    monkeypatch.setattr(timings, "VERSION", timings.VERSION + 1)
    keys.add(cache.make(REQUEST, tmp_path).key)
    assert len(keys) == 5


def test_a_damaged_artifact_is_made_again(tmp_path: Path) -> None:
    made = cache.make(REQUEST, tmp_path)
    Path(made.path).write_bytes(b"short")
    assert cache.find(REQUEST, tmp_path) is None
    assert cache.make(REQUEST, tmp_path) == made
    assert Path(made.path).stat().st_size == made.size_bytes
    assert _names(tmp_path) == [made.key]


def test_a_builder_that_dies_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(request: Order, folder: Path) -> Built:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    monkeypatch.setattr(timings, "build", die)
    with pytest.raises(KeyboardInterrupt):
        cache.make(REQUEST, tmp_path)
    assert _names(tmp_path) == []


def test_a_full_disk_is_said_with_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(request: Order, folder: Path) -> Built:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(timings, "build", full)
    with pytest.raises(DataError, match=r"disk is full: mistral-7b needs .*--cache"):
        cache.make(REQUEST, tmp_path)


def test_weights_beside_the_file_count_and_nothing_else(tmp_path: Path) -> None:
    for name, content in (
        ("m.xml", b"12"),
        ("m.bin", b"345"),
        ("n.onnx", b"12"),
        ("n.onnx.data", b"3456"),
        ("genai_config.json", b"{}"),
        ("tokenizer.json", b"{}"),
    ):
        (tmp_path / name).write_bytes(content)
    assert cache._tree_bytes(tmp_path / "m.xml") == 5
    assert cache._tree_bytes(tmp_path / "n.onnx") == 6


def test_files_beside_a_model_come_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_files(request: Order, folder: Path) -> Built:
        (folder / "model.onnx").write_bytes(b"graph")
        (folder / "model.onnx.data").write_bytes(b"weights")
        (folder / "genai_config.json").write_bytes(b"{}")
        return Built(file=folder / "model.onnx", parameters=1, format="f", recipe="r")

    monkeypatch.setattr(timings, "build", two_files)
    made = cache.make(REQUEST, tmp_path)
    assert made.size_bytes == len(b"graphweights")
    assert (_folder(made) / "genai_config.json").is_file()
    (_folder(made) / "model.onnx.data").write_bytes(b"cut")
    assert cache.find(REQUEST, tmp_path) is None


# ----------------------------------------------------------------------------- several processes
def _make_slowly(root: Path, started: Event, go: Event, found: Queue[object]) -> None:
    """Build in a process of its own, in two halves."""
    build = timings.build

    def slowly(order: Order, folder: Path) -> Built:
        (folder / f"{order.model.name}.json").write_text("half")
        started.set()
        go.wait(60)
        return build(order, folder)

    timings.build = slowly
    found.put(cache.make(REQUEST, root))


def _hold(artifact: Artifact, root: Path, started: Event, go: Event) -> None:
    with storage.held(artifact, root):
        started.set()
        go.wait(60)


def test_two_processes_may_build_the_same_and_the_first_result_stays(tmp_path: Path) -> None:
    go, found = PROCESSES.Event(), PROCESSES.Queue()
    started = [PROCESSES.Event() for _ in range(2)]
    makers = [
        PROCESSES.Process(target=_make_slowly, args=(tmp_path, event, go, found))
        for event in started
    ]
    for maker, event in zip(makers, started, strict=True):
        maker.start()
        assert event.wait(60)
    assert cache.find(REQUEST, tmp_path) is None  # nobody sees a half
    storage.sweep(tmp_path)  # nor takes one for a dead process's
    first = cache.make(REQUEST, tmp_path)
    inode = Path(first.path).stat().st_ino
    go.set()
    assert [found.get(timeout=60) for _ in makers] == [first, first]
    for maker in makers:
        maker.join(60)
        assert maker.exitcode == 0
    assert Path(first.path).stat().st_ino == inode
    assert _names(tmp_path) == [first.key]


def test_what_a_process_uses_is_not_removed_until_it_ends(tmp_path: Path) -> None:
    made = cache.make(REQUEST, tmp_path)
    started, go = PROCESSES.Event(), PROCESSES.Event()
    user = PROCESSES.Process(target=_hold, args=(made, tmp_path, started, go))
    user.start()
    assert started.wait(60)
    assert not storage.remove(_folder(made), tmp_path)
    storage.make_room(tmp_path, 1, 1, 0)
    assert Path(made.path).is_file()
    assert user.pid
    os.kill(user.pid, signal.SIGKILL)  # the kernel lets go of what it held
    user.join(60)
    assert storage.remove(_folder(made), tmp_path)
    assert _names(tmp_path) == []


def test_two_users_at_once(tmp_path: Path) -> None:
    made = cache.make(REQUEST, tmp_path)
    with storage.held(made, tmp_path):
        with storage.held(made, tmp_path):
            pass
        assert not storage.remove(_folder(made), tmp_path)
    assert storage.remove(_folder(made), tmp_path)


def test_what_was_removed_before_its_use_is_said(tmp_path: Path) -> None:
    made = cache.make(REQUEST, tmp_path)
    storage.remove(_folder(made), tmp_path)
    with (
        pytest.raises(DataError, match=r"mistral-7b.json was removed .* just now; run again"),
        storage.held(made, tmp_path),
    ):
        pass


def test_clearing_while_others_build_and_use_never_shows_a_half(tmp_path: Path) -> None:
    stop, problems = threading.Event(), []

    def use() -> None:
        while not stop.is_set():
            made = cache.make(REQUEST, tmp_path)
            try:
                with storage.held(made, tmp_path):
                    if Path(made.path).stat().st_size != made.size_bytes:
                        problems.append("a half was seen")
            except DataError:
                pass  # removed between the two: said, and never half there
            except OSError as error:
                problems.append(str(error))

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    for _ in range(200):
        for entry in storage.entries(tmp_path):
            storage.remove(entry.folder, tmp_path)
    stop.set()
    for user in users:
        user.join()
    assert problems == []


@pytest.mark.parametrize("name", [".making-abc", ".gone-1-2"])
def test_what_dead_processes_left_is_swept(tmp_path: Path, name: str) -> None:
    made = cache.make(REQUEST, tmp_path)
    left = tmp_path / "artifacts" / name
    left.mkdir()
    (left / "half").write_bytes(b"x" * 999)
    assert storage.total_bytes(tmp_path) > 999
    storage.make_room(tmp_path, 1, None, 0)
    assert _names(tmp_path) == [made.key]


# ---------------------------------------------------------------------------------- shared machines
@pytest.mark.parametrize("name", [".lock", "artifacts/KEY/.in-use"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    root, mine = tmp_path / "cache", tmp_path / "mine"
    made = cache.make(REQUEST, root)
    mine.write_text("precious")
    lock = root / name.replace("KEY", made.key)
    lock.unlink(missing_ok=True)
    lock.symlink_to(mine)
    with pytest.raises(DataError, match=rf"{lock.name} is a link.*; rm "), storage.held(made, root):
        pass
    assert mine.read_text() == "precious"


def test_a_lock_file_keeps_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("precious")
    cache.make(REQUEST, tmp_path)
    assert (tmp_path / ".lock").read_text() == "precious"


def test_the_cache_is_its_users_alone(tmp_path: Path) -> None:
    root = tmp_path / "new" / "cache"
    cache.make(REQUEST, root)
    assert (root / "artifacts").stat().st_mode & 0o777 == 0o700
    (root / "artifacts").chmod(0o777)
    storage.make_room(root, 1, None, 0)
    assert (root / "artifacts").stat().st_mode & 0o777 == 0o700


def test_another_users_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cache.make(REQUEST, tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.find(REQUEST, tmp_path) is None
    with pytest.raises(DataError, match=r"belongs to another user, .*--cache"):
        cache.check_writable(tmp_path)
    with pytest.raises(DataError, match="belongs to another user"):
        cache.make(replace(REQUEST, precision="int8"), tmp_path)
    assert Path(made.path).exists()


def test_a_card_that_leads_elsewhere_is_none_of_ours(tmp_path: Path) -> None:
    """Planted: it would be reported as the model that was asked for."""
    made = cache.make(REQUEST, tmp_path / "cache")
    other = tmp_path / "other.json"
    other.write_bytes(Path(made.path).read_bytes())
    card = _folder(made) / storage.CARD
    whole = card.read_text()
    link = _folder(made) / "link.json"
    link.symlink_to(other)
    for path in (str(other), f"{_folder(made)}/../../../other.json", str(link)):
        card.write_text(whole.replace(made.path, path))
        assert cache.find(REQUEST, tmp_path / "cache") is None
    card.write_text(whole)
    assert cache.find(REQUEST, tmp_path / "cache") == made


# ------------------------------------------------------------------------------------------- room
def _fetched(root: Path, size: int) -> Path:
    folder = storage.private(root / storage.REAL) / "tinyweights-1.0"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(b"x" * size)
    return folder


def _environment(root: Path, size: int) -> Path:
    folder = storage.private(root / storage.ENVIRONMENTS) / "0123"
    folder.mkdir()
    (folder / "lib.so").write_bytes(b"x" * size)
    (folder / storage.MARK).write_text("onnxruntime==1.30.0")
    return folder


def test_environments_and_fetched_weights_are_counted_and_named(tmp_path: Path) -> None:
    _fetched(tmp_path, 1000)
    _environment(tmp_path, 2000)
    found = {entry.format: entry for entry in storage.entries(tmp_path)}
    assert found["fetched"].model == "tinyweights-1.0"
    assert found["environment"].model == "onnxruntime==1.30.0"
    assert found["fetched"].size_bytes == 1000
    assert storage.total_bytes(tmp_path) == 3000 + len("onnxruntime==1.30.0")


def test_they_make_room_too_and_fetched_weights_last(tmp_path: Path) -> None:
    made, fetched = _fill(tmp_path, 1)[0], _fetched(tmp_path, 1000)
    environment = _environment(tmp_path, 2000)
    os.utime(fetched, (0, 0))  # used longest ago
    storage.make_room(tmp_path, 0, 1000, 0)
    assert fetched.exists()
    assert not environment.exists()
    assert not _folder(made).exists()
    storage.make_room(tmp_path, 1, 1000, 0)
    assert not fetched.exists()


def test_one_in_use_is_not_cleared(tmp_path: Path) -> None:
    environment = _environment(tmp_path, 2000)
    with storage.used(environment, tmp_path):
        assert not storage.remove(environment, tmp_path)
    assert storage.remove(environment, tmp_path)


def test_entries_come_last_used_first(tmp_path: Path) -> None:
    old, middle, young = _fill(tmp_path)
    assert [e.folder.name for e in storage.entries(tmp_path)] == [young.key, middle.key, old.key]
    cache.find(REQUEST, tmp_path)  # int4: the oldest
    assert [e.folder.name for e in storage.entries(tmp_path)] == [old.key, young.key, middle.key]
    first = storage.entries(tmp_path)[0]
    assert (first.model, first.precision, first.format) == ("mistral-7b", "int4", "int4")
    assert first.size_bytes > old.size_bytes  # with its card


def test_entries_name_variants_and_what_is_damaged(tmp_path: Path) -> None:
    request = replace(REQUEST, model=pick("mistral-7b@lowrank4"), precision="q4_0")
    made = cache.make(request, tmp_path)
    (entry,) = storage.entries(tmp_path)
    assert (entry.model, entry.precision) == ("mistral-7b@lowrank4", "q4_0")
    (_folder(made) / storage.CARD).write_text("{")
    (entry,) = storage.entries(tmp_path)
    assert (entry.model, entry.precision, entry.format) == (made.key, "", "")


def _sizes(root: Path) -> list[int]:
    return [entry.size_bytes for entry in storage.entries(root)]


@pytest.mark.parametrize(
    ("spare", "gone"),
    [(1, 0), (0, 0), (-1, 1)],
)
def test_only_as_much_goes_as_is_needed(tmp_path: Path, spare: int, gone: int) -> None:
    made = _fill(tmp_path)
    limit = sum(_sizes(tmp_path)) + 100 + spare
    storage.make_room(tmp_path, 100, limit, 0)
    assert _names(tmp_path) == sorted(artifact.key for artifact in made[gone:])
    assert storage.total_bytes(tmp_path) + 100 <= limit


def test_the_oldest_idle_one_goes(tmp_path: Path) -> None:
    old, middle, young = _fill(tmp_path)
    with storage.held(old, tmp_path):
        storage.make_room(tmp_path, 1, sum(_sizes(tmp_path)), 0)
    assert _names(tmp_path) == sorted([old.key, young.key])
    assert middle.key not in _names(tmp_path)


def test_room_on_the_disk_is_made_with_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _fill(tmp_path)
    monkeypatch.setattr(storage, "free_bytes", lambda root: 1000)
    storage.make_room(tmp_path, 900, None, 100)
    assert len(_names(tmp_path)) == 3
    storage.make_room(tmp_path, 900, None, 101)
    assert _names(tmp_path) == sorted(artifact.key for artifact in made[1:])


def test_nothing_goes_where_it_would_not_be_enough(tmp_path: Path) -> None:
    _fill(tmp_path)
    storage.make_room(tmp_path, 2_000_000, 1_000_000, 0)
    assert len(_names(tmp_path)) == 3


def test_a_cell_that_outgrows_the_cache_is_skipped_with_the_numbers(tmp_path: Path) -> None:
    need = timings.estimate_bytes(REQUEST)
    assert fit.too_large_to_make(REQUEST, tmp_path, need) is None
    found = fit.too_large_to_make(REQUEST, tmp_path, need - 1)
    assert found
    assert found.status == "skipped"
    assert re.search(r"needs \d+ B of the cache, which may hold \d+ B and has 0 B", found.reason)
    assert "--cache-max" in found.remedy


def test_a_file_of_the_users_own_needs_no_room(tmp_path: Path) -> None:
    path = tmp_path / "mine.timings"
    path.write_text(json.dumps({"infer_ms": 1}), encoding="utf-8")
    made = _fill(tmp_path)
    model = model_of_file(path)
    request = Order(
        builder="asis",
        model=model,
        precision="fp32",
        runtime="fake",
        weights="real",
        real_file=path,
    )
    assert fit.too_large_to_make(request, tmp_path, 1) is None
    assert len(_names(tmp_path)) == len(made)
    artifact = cache.make(request, tmp_path)
    storage.remove(storage.folder_of(tmp_path, artifact.key), tmp_path)
    with storage.held(artifact, tmp_path):  # the file lies elsewhere: nobody takes it away
        assert path.is_file()
