"""The build backend of pyproject.toml (PEP 517 and 660): compiles with cmake, then packs what was compiled, the Python
sources and the shared libraries that a bare system lacks into one wheel. Nothing outside the standard library.

OAR_BUILD names a build directory whose targets `product` and `python` are built; otherwise one is made in build/.
"""
import base64
import csv
import hashlib
import io
import os
import pathlib
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "bindings" / "python"
PACKAGES = ("oar", "paddle_serving_client", "paddle_serving_server", "paddle_serving_server_gpu", "paddle_serving_app")
# What every system has that the wheel's tag names: glibc, and the compiler's own runtime.
SYSTEM = re.compile(r"^(linux-vdso|ld-linux|libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s)[.-]")
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
EXTENSION = "_oar" + (sysconfig.get_config_var("EXT_SUFFIX") if FREE_THREADED else ".abi3.so")
DATE = (2026, 1, 1, 0, 0, 0)  # one date for every entry: the same content is the same file


def project():
    """The values of pyproject.toml that the metadata repeats; its lines are simple enough to need no TOML reader."""
    text = (ROOT / "pyproject.toml").read_text()

    def one(key):
        return re.search(rf'^{key} = "(.*)"$', text, re.M)[1]

    def many(line):
        return re.findall(r'"([^"]+)"', line)

    extras = re.search(r"\[project.optional-dependencies\]\n(.*?)\n\n", text, re.S)[1].splitlines()
    return {
        "name": one("name"), "version": one("version"), "description": one("description"),
        "requires": many(re.search(r"^dependencies = (.*)$", text, re.M)[1]),
        "extras": {line.split(" = ")[0]: many(line.split(" = ")[1]) for line in extras},
    }


def stem():
    p = project()
    return f"{p['name'].replace('-', '_')}-{p['version']}"


def metadata():
    p = project()
    lines = ["Metadata-Version: 2.1", f"Name: {p['name']}", f"Version: {p['version']}", f"Summary: {p['description']}",
             "License: Apache-2.0", "Requires-Python: >=3.9", "Description-Content-Type: text/markdown"]
    lines += [f"Requires-Dist: {r}" for r in p["requires"]]
    for extra, needs in p["extras"].items():
        lines += [f"Provides-Extra: {extra}"] + [f'Requires-Dist: {r}; extra == "{extra}"' for r in needs]
    return "\n".join(lines) + "\n\n" + (SOURCES / "README.md").read_text()


def tag():
    """cp39-abi3 for every CPython from 3.9 on, or the one version without a global lock (3.13t) that builds it; the glibc that it was
    built against."""
    machine = platform.machine()
    kind, version = platform.libc_ver()
    system = f"manylinux_{version.replace('.', '_')}_{machine}" if kind == "glibc" else sysconfig.get_platform().replace("-", "_")
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return f"{own}-{own}t-{system.replace('.', '_')}" if FREE_THREADED else f"cp39-abi3-{system.replace('.', '_')}"


def compiled():
    """The folder of the compiled half, built if need be."""
    given = os.environ.get("OAR_BUILD")
    build = pathlib.Path(given) if given else ROOT / "build"
    if not (given and (build / "python" / "oar" / "bin" / "oar").exists()):
        run = lambda *command: subprocess.run([str(c) for c in command], check=True, cwd=ROOT, stdout=sys.stderr)  # noqa: E731
        run("cmake", "--preset", "release", "-B", build, f"-DOAR_PYTHON={sys.executable}", "--log-level=WARNING")
        run("cmake", "--build", build, "--target", "python", "--parallel", os.environ.get("JOBS", "2"))
    return build / "python" / "oar"


# Loaded by name when they are first needed, so ldd does not show them.
LOADED_LATER = ("libdnnl.so.2", "libcurl.so.4")


def loaded_later():
    """name -> where the dynamic linker finds it."""
    known = subprocess.run(["/sbin/ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    found = dict(reversed(re.findall(r"^\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)$", known, re.M)))
    missing = [name for name in LOADED_LATER if name not in found]
    if missing:
        raise SystemExit(f"{', '.join(missing)}: not here, and belongs into the wheel")
    return {name: found[name] for name in LOADED_LATER}


def libraries(paths):
    """The shared libraries that these files want and that come along: name -> where it lies here."""
    found = loaded_later()
    for path in [*paths, *found.values()]:
        for line in subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout.splitlines():
            match = re.match(r"\s*(\S+) => (\S+)", line)
            if match and match[2] == "not":
                raise SystemExit(f"{path} wants {match[1]}, which is not here")
            if match and not SYSTEM.match(match[1]):
                found[match[1]] = match[2]
    return found


class Wheel:
    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=int(os.environ.get("OAR_WHEEL_LEVEL", "6")))
        self.record = []

    def add(self, name, data, mode=0o644):
        info = zipfile.ZipInfo(name, DATE)
        info.external_attr = (0o100000 | mode) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(info, data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append((name, f"sha256={digest}", len(data)))

    def close(self):
        folder = f"{stem()}.dist-info"
        self.add(f"{folder}/METADATA", metadata().encode())
        self.add(f"{folder}/WHEEL", f"Wheel-Version: 1.0\nGenerator: oar\nRoot-Is-Purelib: false\nTag: {tag()}\n".encode())
        self.add(f"{folder}/entry_points.txt", b"[console_scripts]\noar = oar._binary:main\n")
        self.add(f"{folder}/LICENSE", (ROOT / "LICENSE").read_bytes())
        rows = io.StringIO()
        csv.writer(rows, lineterminator="\n").writerows(self.record + [(f"{folder}/RECORD", "", "")])
        self.zip.writestr(zipfile.ZipInfo(f"{folder}/RECORD", DATE), rows.getvalue())
        self.zip.close()


def stripped(path, scratch):
    """Without debug information: it would be most of the wheel."""
    to = pathlib.Path(scratch) / path.name
    done = subprocess.run(["strip", "--strip-unneeded", "-o", to, path], capture_output=True)
    data = (to if done.returncode == 0 else path).read_bytes()
    to.unlink(missing_ok=True)
    return data


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    built = compiled()
    out = pathlib.Path(wheel_directory)
    out.mkdir(parents=True, exist_ok=True)
    name = f"{stem()}-{tag()}.whl"
    wheel = Wheel(out / name)
    for package in PACKAGES:
        for path in sorted((SOURCES / package).rglob("*")):
            if path.suffix in (".py", ".pyi", ".typed") and "__pycache__" not in path.parts:
                wheel.add(str(path.relative_to(SOURCES)), path.read_bytes())
    extension, binary = built / EXTENSION, built / "bin" / "oar"
    wheel.add(f"oar/{EXTENSION}", stripped(extension, out), 0o755)
    wheel.add("oar/bin/oar", stripped(binary, out), 0o755)
    for library, path in sorted(libraries([extension, binary]).items()):
        wheel.add(f"oar_serving.libs/{library}", pathlib.Path(path).read_bytes(), 0o755)
    wheel.close()
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel that points here; the compiled half is linked into the source tree, where git ignores it."""
    built = compiled()
    for name in (EXTENSION, "bin"):
        link = SOURCES / "oar" / name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(built / name)
    name = f"{stem()}-{tag()}.whl"
    wheel = Wheel(pathlib.Path(wheel_directory) / name)
    wheel.add("oar_serving.pth", f"{SOURCES}\n".encode())
    wheel.close()
    return name


def build_sdist(sdist_directory, config_settings=None):
    """Every file that git tracks or would track, without the tests, or, outside of git (an unpacked sdist), every file."""
    name = f"{stem()}.tar.gz"
    listed = subprocess.run(["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, capture_output=True)
    if listed.returncode == 0:
        files = [f for f in listed.stdout.decode().split("\0") if f and not f.startswith("tests/")]
    else:
        files = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and "build" not in p.relative_to(ROOT).parts]
    with tarfile.open(pathlib.Path(sdist_directory) / name, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(files):
            if (ROOT / file).exists():
                tar.add(ROOT / file, f"{stem()}/{file}", recursive=False)
        info = tarfile.TarInfo(f"{stem()}/PKG-INFO")
        data = metadata().encode()
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return name


if __name__ == "__main__":
    print(pathlib.Path(sys.argv[1]) / build_wheel(sys.argv[1]))
