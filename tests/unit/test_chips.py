"""What a CPU and a board are called, from what the kernel says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpufit.probes import chips, host

if TYPE_CHECKING:
    from pathlib import Path


def x86(vendor: str, family: int, model: int, stepping: int = 1) -> str:
    """Return the lines of /proc/cpuinfo that tell, as they stand there."""
    return (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: AMD EPYC\nstepping\t: {stepping}\n"
    )


def arm(*cores: tuple[str, str]) -> str:
    lines = [
        f"processor\t: {number}\nCPU implementer\t: {maker}\nCPU architecture: 8\n"
        f"CPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n"
        for number, (maker, part) in enumerate(cores)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (x86("AuthenticAMD", 25, 1), "Zen 3 (Milan)"),
        (x86("AuthenticAMD", 26, 2), "Zen 5 (Turin)"),
        (x86("AuthenticAMD", 25, 17), "Zen 4 (Genoa)"),
        (x86("AuthenticAMD", 23, 49), "Zen 2 (Rome)"),
        (x86("AuthenticAMD", 26, 0x4A), "Zen 5"),
        (x86("AuthenticAMD", 99, 1), ""),
        (x86("GenuineIntel", 6, 207), "Emerald Rapids"),
        (x86("GenuineIntel", 6, 143), "Sapphire Rapids"),
        (x86("GenuineIntel", 6, 85, 4), "Skylake"),
        (x86("GenuineIntel", 6, 85, 7), "Cascade Lake"),
        (x86("GenuineIntel", 6, 85, 11), "Cooper Lake"),
        (x86("GenuineIntel", 6, 140), "Tiger Lake"),
        (x86("GenuineIntel", 6, 255), ""),
        (x86("SomebodyElse", 6, 143), ""),
        (arm(*[("0x41", "0xd0b")] * 4), "Cortex-A76"),
        (arm(("0x41", "0xd05"), ("0x41", "0xd0b")), "Cortex-A55 + Cortex-A76"),
        (arm(("0x41", "0xd40")), "Neoverse-V1"),
        (arm(("0x41", "0xfff")), ""),
        ("", ""),
    ],
)
def test_the_microarchitecture(cpuinfo: str, name: str) -> None:
    assert chips.microarchitecture(cpuinfo) == name


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", "Raspberry Pi 5 Model B Rev 1.0"),
        ("m6a.large", "m6a.large"),
        ("Google Compute Engine", "Google Compute Engine"),
        ("Standard PC (Q35 + ICH9, 2009)", ""),
        ("To Be Filled By O.E.M.", ""),
        ("System Product Name", ""),
        ("Virtual Machine", ""),
        ("", ""),
    ],
)
def test_a_boards_name_where_it_says_something(said: str, name: str) -> None:
    assert chips.board(said) == name


@given(st.text())
def test_no_text_of_a_kernel_breaks_it(text: str) -> None:
    assert isinstance(chips.microarchitecture(text), str)
    assert "\n" not in chips.board(text)


def test_two_clouds_hosts_have_different_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though both call themselves 'AMD EPYC'; what makes results comparable stays as it was."""
    monkeypatch.setattr(host, "_brand", lambda _: "AMD EPYC")
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    found = {}
    for model in ((25, 1), (26, 2)):
        (tmp_path / "cpuinfo").write_text(x86("AuthenticAMD", *model))
        found[model] = host.describe(())
    assert found[25, 1].cpu_model.startswith("AMD EPYC, Zen 3 (Milan)")
    assert found[26, 2].cpu_model.startswith("AMD EPYC, Zen 5 (Turin)")
    assert found[26, 2].microarchitecture == "Zen 5 (Turin)"
    assert found[25, 1].fingerprint == found[26, 2].fingerprint


def test_an_arm_board_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(arm(*[("0x41", "0xd0b")] * 4))
    (tmp_path / "model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr(host, "_brand", lambda _: "Cortex-A76")
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(host, "_BOARDS", (tmp_path / "none", tmp_path / "model"))
    found = host.describe(())
    assert found.cpu_model == "Cortex-A76, Raspberry Pi 5 Model B Rev 1.0"
    assert (found.microarchitecture, found.board) == (
        "Cortex-A76",
        "Raspberry Pi 5 Model B Rev 1.0",
    )
