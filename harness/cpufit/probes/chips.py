"""What a CPU and its board really are, where the CPU's name hides it: 'AMD EPYC' is of five kinds.

A virtual machine may pass on no more than that name, and fewer features than the chip has; family
and model it passes on. Sources: Linux, arch/x86/include/asm/intel-family.h and
arch/x86/kernel/cpu/amd.c ("Figure out Zen generations"); code names of AMD's models by the titles
of its revision guides and processor programming references; util-linux, sys-utils/lscpu-arm.c.
"""

from __future__ import annotations

import re

# Family and model, as /proc/cpuinfo has them: 'cpu family', 'model'. Families 6 and 19.
_INTEL = {
    (6, 0x3C): "Haswell", (6, 0x3F): "Haswell", (6, 0x45): "Haswell", (6, 0x46): "Haswell",
    (6, 0x3D): "Broadwell", (6, 0x47): "Broadwell", (6, 0x4F): "Broadwell", (6, 0x56): "Broadwell",
    (6, 0x4E): "Skylake", (6, 0x5E): "Skylake", (6, 0x55): "Skylake",
    (6, 0x8E): "Kaby Lake", (6, 0x9E): "Kaby Lake",
    (6, 0xA5): "Comet Lake", (6, 0xA6): "Comet Lake", (6, 0x66): "Cannon Lake",
    (6, 0x6A): "Ice Lake", (6, 0x6C): "Ice Lake", (6, 0x7D): "Ice Lake", (6, 0x7E): "Ice Lake",
    (6, 0xA7): "Rocket Lake", (6, 0x8C): "Tiger Lake", (6, 0x8D): "Tiger Lake",
    (6, 0x8F): "Sapphire Rapids", (6, 0xCF): "Emerald Rapids", (6, 0xAD): "Granite Rapids",
    (6, 0xAE): "Granite Rapids", (19, 0x01): "Diamond Rapids", (6, 0xAF): "Sierra Forest",
    (6, 0x8A): "Lakefield", (6, 0x97): "Alder Lake", (6, 0x9A): "Alder Lake",
    (6, 0xBE): "Alder Lake-N", (6, 0xB7): "Raptor Lake", (6, 0xBA): "Raptor Lake",
    (6, 0xBF): "Raptor Lake", (6, 0xD7): "Bartlett Lake", (6, 0xAC): "Meteor Lake",
    (6, 0xAA): "Meteor Lake", (6, 0xC5): "Arrow Lake", (6, 0xC6): "Arrow Lake",
    (6, 0xB5): "Arrow Lake", (6, 0xBD): "Lunar Lake", (6, 0xCC): "Panther Lake",
    (6, 0x2A): "Sandy Bridge", (6, 0x2D): "Sandy Bridge", (6, 0x3A): "Ivy Bridge",
    (6, 0x3E): "Ivy Bridge", (6, 0x37): "Silvermont", (6, 0x4D): "Silvermont",
    (6, 0x4C): "Airmont", (6, 0x5C): "Goldmont", (6, 0x5F): "Goldmont",
    (6, 0x7A): "Goldmont Plus", (6, 0x86): "Tremont", (6, 0x96): "Tremont", (6, 0x9C): "Tremont",
}  # fmt: skip

# Models that were sold on: the first stepping of each later kind.
_STEPPINGS = {
    (6, 0x55): ((5, "Cascade Lake"), (10, "Cooper Lake")),
    (6, 0x8E): ((10, "Coffee Lake"), (11, "Whiskey Lake")),
    (6, 0x9E): ((10, "Coffee Lake"),),
}

# Family, first and last model, microarchitecture.
_ZEN = (
    (23, 0x00, 0x2F, "Zen"),
    (23, 0x50, 0x5F, "Zen"),
    (23, 0x30, 0x4F, "Zen 2"),
    (23, 0x60, 0x7F, "Zen 2"),
    (23, 0x90, 0x91, "Zen 2"),
    (23, 0xA0, 0xAF, "Zen 2"),
    (25, 0x00, 0x0F, "Zen 3"),
    (25, 0x20, 0x5F, "Zen 3"),
    (25, 0x10, 0x1F, "Zen 4"),
    (25, 0x60, 0xAF, "Zen 4"),
    (26, 0x00, 0x2F, "Zen 5"),
    (26, 0x40, 0x4F, "Zen 5"),
    (26, 0x60, 0x7F, "Zen 5"),
    (26, 0x50, 0x5F, "Zen 6"),
    (26, 0x80, 0xAF, "Zen 6"),
    (26, 0xC0, 0xCF, "Zen 6"),
)
_AMD_NAMES = {  # as far as they are published
    (23, 0x01): "Naples", (23, 0x31): "Rome", (23, 0x60): "Renoir", (23, 0x68): "Lucienne",
    (23, 0x71): "Matisse", (25, 0x00): "Milan", (25, 0x01): "Milan", (25, 0x11): "Genoa",
    (25, 0xA0): "Bergamo", (25, 0x21): "Vermeer", (25, 0x44): "Rembrandt", (25, 0x50): "Cezanne",
    (25, 0x61): "Raphael", (25, 0x74): "Phoenix", (25, 0x75): "Hawk Point", (26, 0x02): "Turin",
    (26, 0x11): "Turin Dense", (26, 0x24): "Strix Point", (26, 0x44): "Granite Ridge",
    (26, 0x60): "Krackan Point", (26, 0x70): "Strix Halo",
}  # fmt: skip
# Implementer and part of a core.
_ARM = {
    0x41: {
        0xD02: "Cortex-A34", 0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55",
        0xD06: "Cortex-A65", 0xD07: "Cortex-A57", 0xD08: "Cortex-A72", 0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76", 0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78", 0xD42: "Cortex-A78AE",
        0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2",
        0xD49: "Neoverse-N2", 0xD4A: "Neoverse-E1", 0xD4B: "Cortex-A78C", 0xD4C: "Cortex-X1C",
        0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3", 0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520",
        0xD81: "Cortex-A720", 0xD82: "Cortex-X4", 0xD83: "Neoverse-V3AE", 0xD84: "Neoverse-V3",
        0xD85: "Cortex-X925", 0xD87: "Cortex-A725", 0xD8E: "Neoverse-N3", 0xD8F: "Cortex-A320",
    },
    0x48: {0xD01: "TaiShan v110"},
    0x61: {0x022: "Icestorm (M1)", 0x023: "Firestorm (M1)", 0x032: "Blizzard (M2)",
           0x033: "Avalanche (M2)"},
    0xC0: {0xAC3: "Ampere-1", 0xAC4: "Ampere-1A"},
}  # fmt: skip

# What firmware and hypervisors write where nobody filled anything in.
_SAYS_NOTHING = re.compile(
    r"system product name|system name|product name|to be filled.*|default string|not (specified|"
    r"applicable|available)|o\.?e\.?m\.?|none|null|unknown|undefined|invalid|type1productconfigid|"
    r"virtual machine|kvm.*|standard pc.*|qemu.*|virtualbox|vmware.*|hvm domu|bochs|\W*|[0x\s-]*",
    re.IGNORECASE,
)
_LONGEST = 60  # letters of a board's name


def microarchitecture(cpuinfo: str) -> str:
    """Return a CPU's by what /proc/cpuinfo says of it; '' where that is not known.

    >>> microarchitecture("vendor_id : AuthenticAMD\\ncpu family : 25\\nmodel : 1\\n")
    'Zen 3 (Milan)'
    """
    key = _number(cpuinfo, "cpu family"), _number(cpuinfo, "model")
    if "GenuineIntel" in cpuinfo:
        stepping = _number(cpuinfo, "stepping")
        later = [name for first, name in _STEPPINGS.get(key, ()) if stepping >= first]
        return later[-1] if later else _INTEL.get(key, "")
    if "AuthenticAMD" in cpuinfo:
        family, model = key
        found = (name for of, low, high, name in _ZEN if of == family and low <= model <= high)
        name, of_model = next(found, ""), _AMD_NAMES.get(key, "")
        return f"{name} ({of_model})" if name and of_model else name
    return _cores(cpuinfo)


def board(name: str) -> str:
    """Return a board's name, '' where it says nothing."""
    words = " ".join(name.replace("\0", " ").split())[:_LONGEST]
    return "" if _SAYS_NOTHING.fullmatch(words) else words


def called(brand: str, *more: str) -> str:
    """Return the CPU's name with what it does not say itself.

    >>> called("AMD EPYC", "Zen 3 (Milan)", "")
    'AMD EPYC, Zen 3 (Milan)'
    """
    words = [brand] if brand else []
    words += [word for word in more if word and word.lower() not in brand.lower()]
    return ", ".join(words)


def _cores(cpuinfo: str) -> str:
    """Name the kinds of ARM cores, in the file's order: little ones come first as a rule."""
    makers = re.findall(r"^CPU implementer\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.MULTILINE)
    parts = re.findall(r"^CPU part\s*:\s*(0x[0-9a-f]+)$", cpuinfo, re.MULTILINE)
    pairs = zip(makers, parts, strict=False)
    names = (_ARM.get(int(maker, 16), {}).get(int(part, 16), "") for maker, part in pairs)
    return " + ".join(dict.fromkeys(name for name in names if name))


def _number(cpuinfo: str, name: str) -> int:
    found = re.search(rf"^{name}\s*:\s*(\d+)$", cpuinfo, re.MULTILINE)
    return int(found[1]) if found else -1
