"""The wheel: what is in it, that it installs into a clean environment, and that its metadata is what pip wants."""
import email
import subprocess
import sys
import zipfile

import pytest

from python_site import ENV, SITE, WHEEL
from conftest import DEMO, ROOT


def test_what_is_in_it():
    with zipfile.ZipFile(WHEEL) as z:
        names = z.namelist()
        meta = email.message_from_bytes(z.read(next(n for n in names if n.endswith("/METADATA"))))
    assert WHEEL.name.startswith("oar_serving-") and "-cp39-abi3-manylinux_" in WHEEL.name
    assert {"oar/_oar.abi3.so", "oar/bin/oar", "oar/py.typed", "paddle_serving_client/__init__.py"} <= set(names)
    assert any(n.startswith("oar_serving.libs/libdnnl.so") for n in names)
    assert meta["Name"] == "oar-serving" and "numpy" in " ".join(meta.get_all("Requires-Dist"))


def test_what_is_compiled_needs_no_library_of_this_machine():
    for path in (SITE / "oar" / "_oar.abi3.so", SITE / "oar" / "bin" / "oar"):
        for line in subprocess.run(["ldd", path], capture_output=True, text=True).stdout.splitlines():
            where = line.split("=>")[-1].split()[0]
            name = line.split()[0].rsplit("/", 1)[-1]
            ours = str(SITE) in where
            assert ours or name.split(".")[0].split("-")[0] in ("linux", "ld", "libc", "libm", "libstdc++", "libgcc_s"), line


def test_the_extension_shows_its_module_alone():
    names = [line.split()[-1] for line in subprocess.run(["nm", "-D", "--defined-only", SITE / "oar" / "_oar.abi3.so"], check=True,
                                                         capture_output=True, text=True).stdout.splitlines()]
    assert [n for n in names if not n.startswith("oar_")] == ["PyInit__oar"]


def test_pip_installs_it_into_a_clean_environment(tmp_path):
    """Over the system's packages, for numpy and protobuf without a network."""
    def run(*command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=ENV, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "v")
    python = tmp_path / "v" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", ROOT)  # through the build backend
    assert "Version: 0.1.0" in run(python, "-m", "pip", "show", "oar-serving")
    assert run(tmp_path / "v" / "bin" / "oar", "version").startswith("oar 0.1.0")
    run(python, "-c", f"import oar, numpy; assert oar.load({str(DEMO)!r}).run(numpy.zeros((1, 10), 'f4'))")
    run(python, "-m", "pip", "uninstall", "-q", "-y", "oar-serving")


def test_the_sdist_holds_what_a_build_wants(tmp_path):
    sys.path.insert(0, str(ROOT / "bindings" / "python"))
    try:
        import build_backend
    finally:
        sys.path.pop(0)
    import tarfile
    name = build_backend.build_sdist(tmp_path)
    with tarfile.open(tmp_path / name) as tar:
        names = {n.split("/", 1)[1] for n in tar.getnames()}
    assert {"pyproject.toml", "PKG-INFO", "CMakeLists.txt", "CMakePresets.json", "LICENSE", "bindings/python/build_backend.py",
            "bindings/python/ext/module.c", "src/base/err.c"} <= names
