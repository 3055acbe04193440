"""Other engines behind include/oar/oar_engine.h: a small one of our own, what libraries may get wrong, and two real ones."""
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import requests

from conftest import BUILD, ROOT, ZOO, assert_close, cases, run_oar

# y = by * x, where the model's file says by; what it gets wrong is compiled in.
SCALES = r"""
#include <oar/oar_engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef ABI
#define ABI OAR_ENGINE_ABI
#endif
#ifndef SIZE
#define SIZE sizeof(oar_engine)
#endif
#ifndef NAME
#define NAME "scales"
#endif
#ifndef INPUTS
#define INPUTS 1
#endif
#ifndef PORT
#define PORT { "x", OAR_ENGINE_F32, 2, { -1, 3 } }
#endif
#ifndef GIVES
#define GIVES out[0] = (oar_engine_tensor){ OAR_ENGINE_F32, 2, { in[0].shape[0], 3 }, to }
#endif
struct model { float by; int sessions; };
static int open_model(const oar_engine_host *h, oar_engine_call *c, const char *path, const oar_engine_options *o, void **m)
{
    struct model *s = calloc(1, sizeof(*s));
    FILE *f = fopen(path, "r");
    *m = s;
    if (f == NULL || fscanf(f, "%f", &s->by) != 1)
        return f != NULL ? (fclose(f), h->fail(c, OAR_ENGINE_CORRUPT, "no number in it")) : h->fail(c, OAR_ENGINE_INTERNAL, "?");
    fclose(f);
    for (int i = 0; o->setting[i] != NULL; i += 2)
        s->by += (float)atof(o->setting[i + 1]);
    return 0;
}
static void close_model(void *m) { if (((struct model *)m)->sessions != 0) abort(); free(m); }
static int inputs(void *m) { (void)m; return INPUTS; }
static int outputs(void *m) { (void)m; return 1; }
static int input(void *m, int i, oar_engine_port *p) { (void)m, (void)i; *p = (oar_engine_port)PORT; return 0; }
static int output(void *m, int i, oar_engine_port *p)
{
    (void)m, (void)i;
    *p = (oar_engine_port){ "y", OAR_ENGINE_F32, 2, { -1, 3 } };
    return 0;
}
static int open_session(const oar_engine_host *h, oar_engine_call *c, void *m, void **s)
{
    (void)h, (void)c;
    __atomic_fetch_add(&((struct model *)m)->sessions, 1, __ATOMIC_SEQ_CST);
    *s = m;
    return 0;
}
static void close_session(void *s) { __atomic_fetch_sub(&((struct model *)s)->sessions, 1, __ATOMIC_SEQ_CST); }
static int run(const oar_engine_host *h, oar_engine_call *c, void *s, const oar_engine_tensor *in, oar_engine_tensor *out)
{
    size_t n = (size_t)in[0].shape[0] * 3;
    float *to = h->alloc(c, n * sizeof(*to));
    const float *x = in[0].data;
    for (size_t i = 0; i < n; i++)
        to[i] = x[i] * ((struct model *)s)->by;
    if (n > 0 && x[0] == 13)
        return h->fail(c, OAR_ENGINE_INVALID, "13 brings bad luck");
    if (n > 0 && x[0] == 14)
        return h->fail(c, OAR_ENGINE_INTERNAL, "14 is too much");
    GIVES;
    return 0;
}
static const char *const files[] = { "*.scale", NULL }, *const settings[] = { "more", NULL };
static const oar_engine engine = { ABI, SIZE, NAME, files, settings, open_model, close_model, inputs, outputs, input, output,
                                   open_session, close_session, RUN, NULL, NULL };
const oar_engine *oar_engine_entry(void) { return &engine; }
"""


def run(*command, **kw):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **kw)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def compile_scales(folder, name="scales", *defines):
    source, library = folder / "scales.c", folder / f"{name}.so"
    source.write_text(SCALES)
    defines = ("-DRUN=run",) if not any(d.startswith("-DRUN") for d in defines) else (), defines
    run("cc", "-shared", "-fPIC", f"-I{ROOT}/include", *defines[0], *defines[1], source, "-o", library)
    return library


@pytest.fixture(scope="module")
def scales(tmp_path_factory):
    return compile_scales(tmp_path_factory.mktemp("scales"))


def scale_model(folder, by=2.0):
    folder.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.part"
    part.write_text(str(by))
    part.rename(folder / "m.scale")
    return folder


def arrays(folder, *values):
    np.savez(folder / "in.npz", x=np.array([values] if np.ndim(values) == 1 else values, np.float32))
    return folder / "in.npz"


def ask(server, values, model="m"):
    values = np.asarray(values, np.float32)
    return requests.post(f"http://{server.address}/v2/models/{model}/infer", timeout=20, json={
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}]})


def answer(response):
    assert response.status_code == 200, response.text
    output = response.json()["outputs"][0]
    return np.array(output["data"]).reshape(output["shape"])


def test_an_engine_runs_a_model(tmp_path, scales):
    model, feeds = scale_model(tmp_path / "m"), arrays(tmp_path, 1, 2, 3)
    assert "2 4 6" in run_oar("run", model, "--in", feeds, "--engine", scales).stdout
    assert "2.5 5 7.5" in run_oar("run", model / "m.scale", "--in", feeds, "--engine", f"{scales}:more=0.5").stdout
    told = run_oar("inspect", model, "--engine", scales)
    assert "scales" in told.stdout and "[-1, 3]" in told.stdout, told.stderr


def test_an_engine_is_found_by_its_name_and_by_its_files(tmp_path, scales):
    model, feeds = scale_model(tmp_path / "m"), arrays(tmp_path, 1, 2, 3)
    env = {"OAR_ENGINES": str(scales.parent), "PATH": "/usr/bin"}
    assert "2 4 6" in run_oar("run", model, "--in", feeds, "--engine", "scales", env=env).stdout
    assert "2 4 6" in run_oar("run", model, "--in", feeds, env=env).stdout
    done = run_oar("run", model, "--in", feeds, "--engine", "scale", env=env)
    assert "no engine 'scale'; did you mean 'scales'?; there are: oar" in done.stderr
    assert "no model for engine 'scales' here; it opens *.scale" in run_oar(
        "run", ZOO / "fit_a_line" / "pdmodel26", "--in", feeds, "--engine", "scales", env=env).stderr
    assert "has no setting 'mor'; did you mean 'more'?" in run_oar(
        "run", model, "--in", feeds, "--engine", "scales:mor=1", env=env).stderr
    assert "no number in it" in run_oar("run", scale_model(tmp_path / "bad", "x"), "--in", feeds, "--engine", "scales",
                                        env=env).stderr


WRONG = [
    (("-DABI=7",), "made for version 7 of oar_engine.h, this is version 1"),
    (("-DSIZE=16",), "its table is not whole"),
    (("-DRUN=NULL",), "its table is not whole"),
    (('-DNAME="../x"',), "its table is not whole"),
    (("-DINPUTS=1000000",), "it has 1000000 inputs"),
    (("-DINPUTS=-1",), "it has -1 inputs"),
    (("-DINPUTS=2",), "its input 1 has the name of another one"),
    (("-DPORT={NULL,1,2,{-1,3}}",), "its input 0 has no proper name"),
    (('-DPORT={"x",77,2,{-1,3}}',), "its input 0 has a type that is none"),
    (('-DPORT={"x",1,9,{-1,3}}',), "its input 0 has a rank that is not from 0 to 8"),
    (('-DPORT={"x",1,2,{-5,3}}',), "its input 0 has a negative dimension"),
    (("-DGIVES=(void)to",), "output 'y' is int64 [], expected float32 [-1, 3]"),
    (("-DGIVES=out[0]=(oar_engine_tensor){1,99,{1,3},to}",), "output 'y' is of rank 99"),
    (("-DGIVES=out[0]=(oar_engine_tensor){1,2,{-4,3},to}",), "output 'y' is float32 [-4, 3]"),
    (("-DGIVES=out[0]=(oar_engine_tensor){1,2,{1,3},0}",), "output 'y' has no data"),
    (("-DGIVES=return -77",), "engine 'scales': it does not say why"),
]


@pytest.mark.parametrize("defines, words", WRONG, ids=[w[1][:40] for w in WRONG])
def test_what_a_library_gets_wrong_is_named(tmp_path, defines, words):
    library = compile_scales(tmp_path, "wrong", *defines)
    done = run_oar("run", scale_model(tmp_path / "m"), "--in", arrays(tmp_path, 1, 2, 3), "--engine", library)
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_files_that_are_no_engine_are_refused(tmp_path):
    model, feeds = scale_model(tmp_path / "m"), arrays(tmp_path, 1, 2, 3)
    (tmp_path / "empty.c").write_text("int x;")
    run("cc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", tmp_path / "empty.so")
    (tmp_path / "text.so").write_text("no library" * 100)
    (tmp_path / "cut.so").write_bytes((tmp_path / "empty.so").read_bytes()[:300])
    for name, words in (("empty.so", "exports no oar_engine_entry"), ("text.so", "invalid ELF header"), ("cut.so", ""),
                        ("none.so", "No such file")):
        done = run_oar("run", model, "--in", feeds, "--engine", tmp_path / name)
        assert done.returncode == 1 and words in done.stderr, (name, done.stderr)
    for text, words in (("", "expected the name of an engine"), (f"{tmp_path}/x.so:y", "expected settings as NAME=VALUE")):
        assert words in run_oar("run", model, "--in", feeds, f"--engine={text}").stderr


def test_it_is_served_as_our_own_models_are(serve, tmp_path, scales):
    model = scale_model(tmp_path / "m", 2)
    with serve("--model", f"m={model}", "--engine", scales, "--runtime-thread-num", "2", "--settle-ms", "50") as server:
        assert np.array_equal(answer(ask(server, [[1, 2, 3]])), [[2, 4, 6]])
        told = requests.get(f"http://{server.address}/v2/models/m", timeout=20).json()
        assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]
        assert ask(server, [[1, 2]]).status_code == 400
        bad = ask(server, [[13, 0, 0]])
        assert bad.status_code == 400 and "13 brings bad luck" in bad.text
        assert ask(server, [[14, 0, 0]]).status_code == 500
        wrong = []

        def many(k):  # joined to batches, each gets its own rows
            for i in range(50):
                rows = np.arange(3 * (1 + i % 3)).reshape(-1, 3) + 100 * k
                if not np.array_equal(answer(ask(server, rows)), 2 * rows):
                    wrong.append((k, i))
        threads = [threading.Thread(target=many, args=(k + 1,)) for k in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert not wrong
        metrics = requests.get(f"http://{server.address}/metrics", timeout=20).text
        assert 'model="m"' in metrics
        deadline = time.monotonic() + 20
        scale_model(model, 5)  # replaced in place
        while time.monotonic() < deadline and answer(ask(server, [[1, 1, 1]]))[0, 0] != 5:
            time.sleep(0.02)
        assert np.array_equal(answer(ask(server, [[1, 2, 3]])), [[5, 10, 15]])
        scale_model(model, "x")
        time.sleep(0.5)
        assert np.array_equal(answer(ask(server, [[1, 2, 3]])), [[5, 10, 15]])
    assert "no number in it" in server.errors


def test_versions_and_the_models_own_configuration(serve, tmp_path, scales, monkeypatch):
    monkeypatch.setenv("OAR_ENGINES", str(scales.parent))
    root = tmp_path / "repository"
    for version, by in ((1, 3), (2, 4)):
        scale_model(root / "m" / str(version), by)
    (root / "m" / "oar.yml").write_text("version_policy: all\nengine: 'scales:more=0.5'\n")
    shutil.copytree(ZOO / "fit_a_line" / "pdmodel26", root / "house" / "1", ignore=shutil.ignore_patterns("case_*", "meta*"))
    with serve("--model-repository", root) as server:
        assert answer(ask(server, [[2, 2, 2]]))[0, 0] == 9
        assert answer(ask(server, [[2, 2, 2]], "m/versions/1"))[0, 0] == 7
        assert requests.get(f"http://{server.address}/v2/models/house/ready", timeout=20).status_code == 200
    (root / "m" / "oar.yml").write_text(f"engine: {scales}\n")
    done = run_oar("serve", "--model", root / "m", "--port", "0")
    assert done.returncode == 1 and "expected a name; a library's path is for" in done.stderr, done.stderr


def test_an_engine_in_a_graph(serve, tmp_path, scales, monkeypatch):
    monkeypatch.setenv("OAR_ENGINES", str(scales.parent))
    scale_model(tmp_path / "a", 3)
    (tmp_path / "g.yml").write_text("service: g\nnodes:\n  - {name: a, model: a, engine: scales}\n")
    with serve("--model", tmp_path / "g.yml") as server:
        done = requests.post(f"http://{server.address}/g/prediction", timeout=20, json={"feed": [{"x": [1, 2, 3]}], "fetch": []})
        assert done.status_code == 200 and done.json()["result"]["y"] == [[3, 6, 9]], done.text


# ---- XGBoost ----

TRAINS = r"""
#include <xgboost/c_api.h>
#include <stdio.h>
#include <stdlib.h>
#define CHECK(x) if ((x) != 0) { fprintf(stderr, "%s\n", XGBGetLastError()); return 1; }
/* argv: objective, classes, file...; prints the predictions of the last rows. */
int main(int argc, char **argv)
{
    enum { ROWS = 200, COLUMNS = 5 };
    static float x[ROWS * COLUMNS], y[ROWS];
    int classes = atoi(argv[2]);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        x[i] = (float)(i * 7919 % 1009) / 1009;
    for (int i = 0; i < ROWS; i++)
        y[i] = classes > 0 ? (float)((int)(x[5 * i] * 17 + x[5 * i + 1] * 5) % classes) : x[5 * i] * 3 - x[5 * i + 3];
    DMatrixHandle all, few;
    BoosterHandle b;
    CHECK(XGDMatrixCreateFromMat(x, ROWS, COLUMNS, -1, &all));
    CHECK(XGDMatrixSetFloatInfo(all, "label", y, ROWS));
    CHECK(XGBoosterCreate(&all, 1, &b));
    CHECK(XGBoosterSetParam(b, "objective", argv[1]));
    if (classes > 2)
        CHECK(XGBoosterSetParam(b, "num_class", argv[2]));
    for (int i = 0; i < 8; i++)
        CHECK(XGBoosterUpdateOneIter(b, i, all));
    for (int i = 3; i < argc; i++)
        CHECK(XGBoosterSaveModel(b, argv[i]));
    bst_ulong n;
    const float *p;
    CHECK(XGDMatrixCreateFromMat(x, 10, COLUMNS, -1, &few));
    CHECK(XGBoosterPredict(b, few, 0, 0, 0, &n, &p));
    for (bst_ulong i = 0; i < n; i++)
        printf("%.9g\n", p[i]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def trains(tmp_path_factory):
    if not pathlib.Path("/usr/include/xgboost/c_api.h").exists():
        pytest.skip("libxgboost-dev is not there")
    folder = tmp_path_factory.mktemp("trains")
    (folder / "t.c").write_text(TRAINS)
    run("cc", folder / "t.c", "-o", folder / "t", "-lxgboost")
    assert (BUILD / "engines" / "xgboost.so").exists(), "its engine was not built"
    return folder / "t"


ROWS = (np.arange(50) * 7919 % 1009).astype(np.float32).reshape(10, 5) / np.float32(1009)


@pytest.mark.parametrize("objective, classes", [("reg:squarederror", 0), ("binary:logistic", 2), ("multi:softprob", 4)])
@pytest.mark.parametrize("ending", ["json", "ubj", "bin"])
def test_xgboost_is_served(serve, tmp_path, trains, objective, classes, ending):
    model = tmp_path / "trees"
    model.mkdir()
    file = model / f"model.{ending}"
    told = run(trains, objective, classes, file if ending != "bin" else model / "model.deprecated")
    if ending == "bin":
        (model / "model.deprecated").rename(file)
    want = np.array(told.split(), np.float32)
    want = want.reshape(10, -1) if classes > 2 else want
    with serve("--model", f"m={model}") as server:
        got = answer(ask(server, ROWS))
        assert_close(got.astype(np.float32), want)
        assert_close(answer(ask(server, ROWS[3:4])).astype(np.float32), want[3:4])
        assert ask(server, ROWS[:, :4]).status_code == 400


def test_a_file_by_itself_is_its_engines(tmp_path, trains):
    want = np.array(run(trains, "reg:squarederror", 0, tmp_path / "m.ubj").split(), np.float32)
    np.savez(tmp_path / "in.npz", x=ROWS)
    done = run_oar("run", tmp_path / "m.ubj", "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    assert_close(np.load(tmp_path / "out.npz")["prediction"].ravel(), want)
    (tmp_path / "m.text").write_text("no model\n")
    done = run_oar("run", tmp_path / "m.text", "--in", tmp_path / "in.npz")
    assert done.returncode == 1 and "m.text: not a Paddle program, nor an ONNX model" in done.stderr, done.stderr


def test_damaged_trees_are_refused(tmp_path, trains):
    run(trains, "reg:squarederror", 0, tmp_path / "whole.json")
    whole = (tmp_path / "whole.json").read_bytes()
    np.savez(tmp_path / "in.npz", x=ROWS)
    for n, damage in enumerate((whole[:len(whole) // 2], whole.replace(b'"5"', b'"-1"'), b'{"learner": 3}')):
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "model.json").write_bytes(damage)
        done = run_oar("run", folder, "--in", tmp_path / "in.npz")
        assert done.returncode == 1 and "engine 'xgboost'" in done.stderr, done.stderr


# ---- OpenVINO ----

@pytest.fixture(scope="module")
def openvino(tmp_path_factory):
    """Its engine, built as anybody would: against an installed Oar and the Python package."""
    spec = importlib.util.find_spec("openvino")
    if spec is None:
        pytest.skip("the Python package openvino is not there")
    prefix, folder = tmp_path_factory.mktemp("prefix"), tmp_path_factory.mktemp("openvino")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    run("cmake", "-S", ROOT / "engines" / "openvino", "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DOPENVINO_DIR={spec.submodule_search_locations[0]}")
    run("cmake", "--build", folder)
    return folder / "engines" / "openvino.so"


def feeds_of(path, names):
    with np.load(path) as z:
        return {n: z[f"in{i}"] for i, n in enumerate(names)}


def test_openvino_is_served(serve, tmp_path, openvino):
    source = ZOO / "lenet_digits" / "pdmodel26"
    meta = json.loads((source / "meta.json").read_text())
    model = tmp_path / "m"
    convert = ("import openvino as ov, sys; "
               "ov.save_model(ov.Core().read_model(sys.argv[1]), sys.argv[2], compress_to_fp16=False)")
    model.mkdir()
    run(sys.executable, "-c", convert, source / "inference.pdmodel", model / "model.xml")
    with serve("--model", f"paddle={source}", "--model", f"m={model}", "--engine", openvino) as server:
        for path, result in cases(source):
            for name in ("paddle", "m"):
                feeds = feeds_of(path, [f["name"] for f in meta["feeds"]])
                done = requests.post(f"http://{server.address}/v2/models/{name}/infer", timeout=20, json={"inputs": [
                    {"name": n, "datatype": "FP32", "shape": list(v.shape), "data": v.ravel().tolist()}
                    for n, v in feeds.items()]})
                with np.load(result) as want:
                    assert_close(answer(done).astype(np.float32), want["out0"], 1e-4)
    done = run_oar("run", model, "--in", cases(source)[0][0], "--engine", f"{openvino}:NUM_STREAMS=x")
    assert done.returncode == 1 and "engine 'openvino'" in done.stderr
    (model / "model.bin").write_bytes(b"")
    done = run_oar("run", model, "--in", cases(source)[0][0], "--engine", openvino)
    assert done.returncode == 1 and "engine 'openvino'" in done.stderr, done.stderr
