"""llama.cpp as PyPI's `llama-cpp-python` ships it: its source, built once for this machine.

The package holds a whole llama.cpp; only ggml, `llama-bench` and `llama-quantize` are built of it, with
everything that this CPU has. Needs a C++ compiler.
"""

import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from cache import build_once, digest, progress, target_dir
from env import interpreter, pip
from process import call

PACKAGE = "llama-cpp-python==0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
REQUIREMENTS = Path(__file__).with_name("requirements-build.txt")
OPTIONS = ["CMAKE_BUILD_TYPE=Release", "BUILD_SHARED_LIBS=ON", "GGML_NATIVE=ON", "GGML_OPENMP=OFF", "LLAMA_OPENSSL=OFF"]
PARTS = [f"LLAMA_BUILD_{part}=OFF" for part in ("TESTS", "EXAMPLES", "SERVER", "APP")]
TARGETS = ["llama-bench", "llama-quantize"]
# GCC takes the instruction for a read of eight bytes, and drops what is stored in the rest of the configuration.
TILES = "ggml/src/ggml-cpu/amx/mmq.cpp"
LOADED, STORED = "_tile_loadconfig(&tc);", '__asm__ volatile("" : : "r"(&tc) : "memory");'


def folder() -> Path:
    """Where the programs and libraries are, built on first use."""
    try:
        compiler = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"llama.cpp needs a C++ compiler: {error}") from None
    built = target_dir() / "peers" / "llama.cpp"
    build_once(built, digest(SHA256, REQUIREMENTS, STORED, *OPTIONS, *PARTS, compiler), _build)
    return built / "bin"


def _build(folder: Path) -> None:
    python = interpreter("venv-build", str(REQUIREMENTS))
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        progress(f"fetching {PACKAGE}")
        name = PACKAGE.split("==")[0]
        pip(python, "download", "--no-deps", "--no-binary", name, "--dest", temporary, PACKAGE)
        (archive,) = Path(temporary).glob("*.tar.gz")
        if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
            raise SystemExit(f"the source of {PACKAGE} is not the one these scripts expect")
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        (source,) = Path(temporary).glob("*/vendor/llama.cpp")
        (source / TILES).write_text((source / TILES).read_text().replace(LOADED, f"{STORED} {LOADED}"))
        progress("building llama.cpp, which takes minutes")
        cmake, build = python.with_name("cmake"), Path(temporary) / "build"
        settings = [*OPTIONS, *PARTS, f"CMAKE_MAKE_PROGRAM={python.with_name('ninja')}"]
        # Libraries are found beside the programs, wherever the folder goes.
        settings += ["CMAKE_BUILD_WITH_INSTALL_RPATH=ON", "CMAKE_INSTALL_RPATH=$ORIGIN"]
        call(["nice", cmake, "-G", "Ninja", "-S", source, "-B", build, *(f"-D{setting}" for setting in settings)])
        call(["nice", cmake, "--build", build, "--target", *TARGETS])
        (build / "bin").rename(folder / "bin")


def quantized(source: Path, kind: str) -> Path:
    """`source`, a GGUF file, with its weights rounded to `kind` by `llama-quantize`, which says where it cannot."""
    programs, output = folder(), target_dir() / "peers" / f"{source.stem}-{kind}"

    def build(made: Path) -> None:
        progress(f"rounding {source.name} to {kind}")
        call([programs / "llama-quantize", "--allow-requantize", source, made / "model.gguf", kind])

    build_once(output, digest(SHA256, source.name, kind), build)
    return output / "model.gguf"
