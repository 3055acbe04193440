"""What `make install` leaves is enough to build against, from C and C++, by pkg-config and by CMake."""
import os
import subprocess

import pytest

from conftest import BUILD, DEMO, ROOT, Server

# Good C and good C++; the exit status says what went wrong.
PROGRAM = """
#include <oar/client.h>
#include <oar/engine.h>

int main(int argc, char **argv)
{
    oar_model *model = 0;
    oar_error error;
    oar_client *client = 0;
    if (argc < 2 || oar_model_open("/no/such/model", &model, &error) == 0 || !error.text[0])
        return 2;
    if (oar_model_open(argv[1], &model, &error) != 0)
        return 3;
    if (oar_model_input_count(model) != 1)
        return 4;
    oar_model_close(model);
    if (oar_client_open("127.0.0.1:1", "no such protocol", &client) == 0)
        return 5;
    oar_client_close(client);
    return 0;
}
"""

CMAKELISTS = """
cmake_minimum_required(VERSION 3.22)
project(user LANGUAGES C)
find_package(Oar 0.1 REQUIRED)
add_executable(user main.c)
target_link_libraries(user PRIVATE Oar::oar Oar::oar_client)
"""


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **kw)
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The tree is moved after the installation: nothing in it may know where it was."""
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", BUILD, "--prefix", folder / "before", "--strip")
    return (folder / "before").rename(folder / "after")


@pytest.mark.parametrize("compiler, suffix", [("gcc", "c"), ("g++", "cc")])
def test_builds_by_pkg_config(prefix, tmp_path, compiler, suffix):
    source, program = tmp_path / f"main.{suffix}", tmp_path / "user"
    source.write_text(PROGRAM)
    (folder,) = prefix.glob("lib*/pkgconfig")
    env = {**os.environ, "PKG_CONFIG_PATH": str(folder), "LD_LIBRARY_PATH": str(folder.parent)}
    flags = run("pkg-config", "--cflags", "--libs", "oar", "oar-client", env=env).split()
    run(compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", source, "-o", program, *flags)
    run(program, DEMO, env=env)


def test_builds_by_cmake(prefix, tmp_path):
    (tmp_path / "main.c").write_text(PROGRAM)
    (tmp_path / "CMakeLists.txt").write_text(CMAKELISTS)
    run("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "b")
    run(tmp_path / "b" / "user", DEMO)


def test_the_installed_binary_runs(prefix):
    assert "0.1.0" in run(prefix / "bin" / "oar", "version")


@pytest.mark.parametrize("library", ["liboar.so", "liboar_client.so"])
def test_libraries_show_public_names_alone(prefix, library):
    (path,) = prefix.glob(f"lib*/{library}")
    names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", path).splitlines()]
    assert names and all(name.startswith("oar_") for name in names), names


@pytest.mark.parametrize("compiler", [["gcc", "-std=c99"], ["gcc", "-std=c11"], ["g++", "-std=c++11", "-x", "c++"], ["g++", "-std=c++17", "-x", "c++"]])
def test_headers_stand_alone(prefix, compiler):
    headers = sorted((prefix / "include" / "oar").glob("*.h"))
    assert len(headers) == 4
    for header in headers:
        run(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", header)


def test_the_examples_in_c_and_cc_do_what_their_page_says(prefix, tmp_path):
    run("cmake", "-S", ROOT / "examples" / "c", "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path / "b")
    assert "out progression begins with -37.99" in run(tmp_path / "b" / "engine", DEMO)
    with Server("--model", DEMO) as s:
        for protocol in ("brpc", "grpc", "kserve-http"):
            assert run(tmp_path / "b" / "client", s.address, protocol, "diabetes", "x", *[0] * 10).startswith("progression: -53.7")
        assert run(tmp_path / "b" / "threads", s.address, "x", 10).split()[1].startswith("-37.99")
        wrong = subprocess.run([tmp_path / "b" / "client", s.address, "brpc", "diabetes", "x", "0"], capture_output=True, text=True)
        assert wrong.returncode == 1 and "expected float32 [-1, 10], got float32 [1, 1]" in wrong.stderr
