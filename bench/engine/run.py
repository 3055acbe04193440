#!/usr/bin/env python3
"""Oar's engine beside ONNX Runtime, OpenVINO and Paddle Inference, one model after another.

  bench/engine/run.py OAR --zoo DIR [--small DIR] [--onnx DIR] [--peers PYTHON] [--paddle PYTHON]
                      [--models a,b] [--rounds 5] [--seconds 1] [--threads 1] [--precision fp32] [--core N]

DIR holds MODEL/pdmodel26/ as made by the zoo's make_zoo.py, --onnx MODEL.onnx as made by paddle2onnx. PYTHON is an interpreter
with onnxruntime and openvino, or paddlepaddle 2.6; an engine whose interpreter or model is missing is left out.
With --precision int8 every engine gets the ONNX form as quantise.py makes it of MODEL.onnx (Paddle has none), with bf16 all but ONNX
Runtime compute in it. All engines get the same arrays and are pinned to one processor. They take turns: in each round each runs the model for
--seconds. The files are in the page cache before. Compared is the processor time of a run (which a busy machine disturbs least), as the median of the rounds; the
wall-clock median stands beside it. Then: from before the file is opened to the first answer, inside the process; from the
process's start to its first answer; resident memory then. The last column is the largest difference of Oar's outputs from
Paddle's over their largest magnitude. Prints Markdown.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ENGINES = ("oar", "ort", "openvino", "paddle")
TITLES = {"oar": "Oar", "ort": "ONNX Runtime", "openvino": "OpenVINO", "paddle": "Paddle Inference"}


def image(*shape):
    return lambda rng: [rng.standard_normal(shape, dtype=np.float32)]


def tokens(batch, length, vocabulary=20000):
    return lambda rng: [rng.integers(1, vocabulary, (batch, length)), np.zeros((batch, length), np.int64)]


def text(batch, length):
    return lambda rng: [rng.integers(1, 200, (batch, length)), np.full((batch,), length, np.int64)]


def detection(size):
    return lambda rng: [rng.standard_normal((1, 3, size, size), dtype=np.float32),
                        np.array([[size, size]], np.float32), np.ones((1, 2), np.float32)]


# model -> (title, its directory in the zoo, arrays in the order of meta.json's feeds; None: case 0 of the zoo)
MODELS = {
    "resnet50": ("resnet50", "resnet50", image(1, 3, 224, 224)),
    "mobilenet_v3_large": ("mobilenet_v3_large", "mobilenet_v3_large", image(1, 3, 224, 224)),
    "bert_base": ("bert_base, 128 tokens", "bert_base", tokens(1, 128)),
    "ocr_det_db": ("ocr_det_db, 640x640", "ocr_det_db", image(1, 3, 640, 640)),
    "ocr_rec_crnn": ("ocr_rec_crnn, 32x320", "ocr_rec_crnn", image(1, 3, 32, 320)),
    "yolov3": ("yolov3, 320x320", "yolov3", detection(320)),
    "unet": ("unet, 256x256", "unet", image(1, 3, 256, 256)),
    "vit_small": ("vit_small", "vit_small", image(1, 3, 224, 224)),
    "text_bilstm": ("text_bilstm, 100 tokens", "text_bilstm2", text(1, 100)),
    "resnet50_b8": ("resnet50, batch 8", "resnet50", image(8, 3, 224, 224)),
    "bert_base_b8": ("bert_base, batch 8", "bert_base", tokens(8, 128)),
}
LOD_MODELS = ("imdb_cnn", "imdb_lstm", "senta_bilstm", "lac", "criteo_ctr", "wide_deep", "fit_a_line")
for _name in LOD_MODELS:
    MODELS[_name] = (_name, _name, None)


class Job:
    """One model's files and arrays."""

    def __init__(self, args, name, folder):
        self.title, directory, make = MODELS[name]
        root = pathlib.Path(args.zoo) / directory
        if not root.is_dir() and args.small:
            root = pathlib.Path(args.small) / directory
        self.model = root / "pdmodel26"
        self.onnx = pathlib.Path(args.onnx or "/nonexistent") / f"{directory}.onnx"
        meta = json.loads((self.model / "meta.json").read_text())
        self.names = ",".join(f["name"] for f in meta["feeds"])
        self.warm()
        self.feeds = folder / f"{name}.npz"
        if make is None:
            self.feeds = self.model / "case_0.in.npz"
        else:
            arrays = make(np.random.default_rng(7))
            np.savez(self.feeds, **{f"in{i}": a for i, a in enumerate(arrays)})
        if args.precision == "int8":
            self.quantise(args, folder / f"{name}_int8.onnx")

    def quantise(self, args, out):
        subprocess.run([args.peers, str(HERE / "quantise.py"), str(self.onnx), str(self.feeds), str(out)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.model = self.onnx = out

    def warm(self):
        """Reads the files once, so that the engine that starts first does not pay for the disk."""
        for path in [self.onnx, *self.model.iterdir()]:
            if path.is_file():
                path.read_bytes()


def pinned(args):
    core = str(args.core)
    return ["taskset", "-c", core if args.threads == 1 else f"0-{args.threads - 1}"]


class Peer:
    """An engine that waits in a process of its own."""

    def __init__(self, args, job, engine, out):
        python = args.paddle if engine == "paddle" else args.peers
        model = {"ort": job.onnx, "openvino": job.model / "inference.pdmodel", "paddle": job.model}[engine]
        if engine == "openvino" and (args.openvino_onnx or args.precision == "int8"):
            model = job.onnx
        env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), GLOG_minloglevel="3")
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            pinned(args) + [python, str(HERE / "peer.py"), engine, str(model), str(job.feeds), "--names", job.names,
                            "--threads", str(args.threads), "--precision", args.precision, "--out", str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        self.ready = self.answer()
        if self.ready:
            self.ready["process_ms"] = (time.perf_counter() - begin) * 1e3

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        return None

    def run(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Oar:
    """`oar bench`, started anew each round: it loads in less time than a round takes."""

    def __init__(self, args, job, out):
        self.command = pinned(args) + [args.oar, "bench", str(job.model), "--in", str(job.feeds), "--threads",
                                       str(args.threads), "--json"]
        if args.precision != "fp32":
            self.command += ["--precision", args.precision]
        once = self.run(0.01)
        begin = time.perf_counter()
        run = subprocess.run(pinned(args) + [args.oar, "run", str(job.model), "--in", str(job.feeds), "--out", str(out)],
                             capture_output=True, text=True)
        self.ready = None
        if once and run.returncode == 0:
            self.ready = {"first_ms": once["first_ms"], "resident_bytes": once["first_resident_bytes"],
                          "process_ms": (time.perf_counter() - begin) * 1e3, "version": "here"}
        elif args.verbose:
            print(run.stderr, file=sys.stderr)

    def run(self, seconds):
        done = subprocess.run(self.command + ["--seconds", str(seconds)], capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def close(self):
        pass


def outputs(path):
    if not path.exists():
        return None
    with np.load(path) as z:
        return [z[n] for n in z.files if not n.endswith(".lod")]


def difference(got, want):
    """Of float outputs, over the largest magnitude; None where they do not compare."""
    if got is None or want is None or len(got) != len(want):
        return None
    worst = 0.0
    for g, w in zip(got, want):
        if g.shape != w.shape:
            return None
        if w.dtype.kind == "f" and w.size:
            worst = max(worst, float(np.abs(g - w).max() / max(float(np.abs(w).max()), 1e-30)))
    return worst


def start(args, job, folder):
    runners = {}
    for engine in ENGINES:
        if engine not in args.engines.split(","):
            continue
        out = folder / f"{engine}.npz"
        out.unlink(missing_ok=True)
        if engine == "oar":
            runner = Oar(args, job, out)
        elif {"ort": "bf16", "paddle": "int8"}.get(engine) == args.precision:
            continue
        elif (engine == "paddle" and not args.paddle) or (engine != "paddle" and not args.peers):
            continue
        else:
            runner = Peer(args, job, engine, out)
        if runner.ready:
            runners[engine] = runner
        else:
            runner.close()
    return runners


def measure(args, name, folder):
    job = Job(args, name, folder)
    runners = start(args, job, folder)
    rounds = {e: [] for e in runners}
    for _ in range(args.rounds):
        for engine, runner in runners.items():
            result = runner.run(args.seconds)
            if result:
                rounds[engine].append(result)
    for runner in runners.values():
        runner.close()
    row = {"title": job.title, "error": difference(outputs(folder / "oar.npz"), outputs(folder / "paddle.npz")),
           "engines": {}}
    for engine, runner in runners.items():
        if rounds[engine]:
            row["engines"][engine] = {
                "cpu_ms": statistics.median(r["cpu_ms"] for r in rounds[engine]),
                "wall_ms": statistics.median(r["median_ms"] for r in rounds[engine]),
                **{k: runner.ready[k] for k in ("first_ms", "process_ms", "resident_bytes", "version")}}
    return row


def best(row, key):
    others = [v[key] for e, v in row["engines"].items() if e != "oar"]
    return min(others) if others and "oar" in row["engines"] else None


def ratio(row, key):
    b = best(row, key)
    return row["engines"]["oar"][key] / b if b else None


def cell(value, form):
    return format(value, form) if value is not None else "-"


def table(rows, key, form, scale=1.0):
    print("| model | " + " | ".join(TITLES[e] for e in ENGINES) + " | Oar to the best of the others |")
    print("|---|" + "---|" * (len(ENGINES) + 1))
    for row in rows:
        values = [row["engines"].get(e, {}).get(key) for e in ENGINES]
        print(f"| {row['title']} | " + " | ".join(cell(v * scale if v is not None else None, form) for v in values)
              + f" | {cell(ratio(row, key), '.2f')} |")
    ratios = [r for r in (ratio(row, key) for row in rows) if r]
    if len(ratios) > 1:
        print(f"| geometric mean | | | | | {math.exp(statistics.fmean(map(math.log, ratios))):.2f} |")
    print()


def report(rows):
    versions = {e: v["version"] for row in rows for e, v in row["engines"].items() if e != "oar"}
    print("Peers: " + ", ".join(f"{TITLES[e]} {v}" for e, v in versions.items()) + "\n")
    print("Processor time of a run, ms:\n")
    table(rows, "cpu_ms", ".3f")
    print("Wall-clock time of a run, ms:\n")
    table(rows, "wall_ms", ".3f")
    print("From opening the file to the first answer, inside the process, ms:\n")
    table(rows, "first_ms", ".1f")
    print("From the start of the process to the first answer, ms:\n")
    table(rows, "process_ms", ".1f")
    print("Resident memory behind the first answer, MB:\n")
    table(rows, "resident_bytes", ".1f", 1e-6)
    print("Largest difference from Paddle Inference's outputs, over their largest magnitude: "
          + ", ".join(f"{r['title']} {cell(r['error'], '.1e')}" for r in rows))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("oar")
    ap.add_argument("--zoo", required=True)
    ap.add_argument("--small")
    ap.add_argument("--onnx")
    ap.add_argument("--peers")
    ap.add_argument("--paddle")
    ap.add_argument("--models", default=",".join(m for m in MODELS if not m.endswith("_b8")))
    ap.add_argument("--engines", default=",".join(ENGINES))
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--seconds", type=float, default=1)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--precision", default="fp32")
    ap.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    ap.add_argument("--openvino-onnx", action="store_true", help="OpenVINO reads the ONNX form, not Paddle's")
    ap.add_argument("--verbose", action="store_true")
    args = ap.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models.split(","):
            row = measure(args, name, pathlib.Path(folder))
            rows.append(row)
            print(row["title"], {e: round(v["cpu_ms"], 3) for e, v in row["engines"].items()}, file=sys.stderr, flush=True)
    report(rows)


if __name__ == "__main__":
    main()
