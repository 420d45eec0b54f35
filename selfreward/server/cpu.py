"""What this machine's CPU computes fast: the generator's engine and the trainer choose their precision by it."""

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = {"amx_bf16", "avx512_bf16"}


def computes_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the CPU multiplies bf16 in hardware (AMX or AVX-512), by the flags in `cpuinfo`.

    Elsewhere bf16 is many times slower than float32. False where there is no such file, as on systems but Linux.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(_FLAGS & set(flags.split()))
