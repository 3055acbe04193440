"""python -m paddle_serving_server.parse_profile --benchmark_cfg C --benchmark_log L [--output O]: a benchmark's figures in the form of
Paddle's benchmark logs.

The log is what a pipeline writes with FLAGS_profile_pipeline=1 and an interval for its tracer (benchmark.log), or the sum of several runs,
each behind a line `#---- NAME ----` with the keys median, 90_percent, 99_percent, AVG_QPS, CPU_UTIL, GPU_UTIL and GPU_MEM. The
configuration says model_name, precision, batch_size, input_shape, num_of_samples, and how it ran (runtime_device, ir_optim, ...)."""
import argparse
import re
import sys

CONF = ("runtime_device", "ir_optim", "enable_memory_optim", "enable_tensorrt", "enable_mkldnn", "cpu_math_library_num_threads")


def _yaml(text, where):
    try:
        import yaml
    except ImportError:
        raise SystemExit("parse_profile wants the package pyyaml: pip install pyyaml") from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise SystemExit(f"{where}: {e}") from None
    if not isinstance(value, dict):
        raise SystemExit(f"{where}: a map was expected")
    return value


def _ms(value):
    """Seconds of "12.3ms", or of a number of milliseconds."""
    return float(re.sub(r"\s*ms$", "", str(value))) / 1000


def runs_of(text, where):
    """(name, figures) of each run in a log."""
    parts = re.split(r"^#-{3,}\s*(.*?)\s*-*\s*$", text, flags=re.M)
    if len(parts) == 1:
        return [("", _yaml(text, where))]
    return [(name, _yaml(body, where)) for name, body in zip(parts[1::2], parts[2::2])]


def figures_of(run, where):
    """(inference seconds: middle, 90 %, 99 %; queries a second; CPU, GPU and its memory) of one run."""
    try:
        if "DAG" in run:
            dag = run["DAG"]
            times = [float(dag[str(q)] if str(q) in dag else dag[q]) / 1000 for q in (50, 90, 99)]
            return times, dag["qps"], run.get("CPU_UTILIZATION", ""), run.get("GPU_UTILIZATION", ""), run.get("MAX_GPU_MEMORY", "")
        times = [_ms(run[k]) for k in ("median", "90_percent", "99_percent")]
        return times, run["AVG_QPS"], run.get("CPU_UTIL", ""), run.get("GPU_UTIL", ""), run.get("GPU_MEM", "")
    except (KeyError, ValueError) as e:
        raise SystemExit(f"{where}: no figures of a benchmark: {e} is missing or no number") from None


def report(name, cfg, run, where):
    """The lines of one run."""
    times, qps, cpu, gpu, memory = figures_of(run, where)
    sections = {
        "Conf info": {k: cfg.get(k, "") for k in CONF},
        "Model info": {"model_name": cfg["model_name"], "precision": cfg["precision"]},
        "Data info": {"batch_size": cfg["batch_size"], "input_shape": cfg["input_shape"], "data_num": cfg["num_of_samples"]},
        "Perf info": {"cpu_rss(MB)": -1, "cpu_util": f"{cpu}%", "gpu_util": gpu, "gpu_mem_util": memory,
                      "inference_time(ms)": round(times[0] * 1000, 4), "inference_time_90(ms)": round(times[1] * 1000, 4),
                      "inference_time_99(ms)": round(times[2] * 1000, 4), "qps": qps},
    }
    for op, stages in run.items():  # of a pipeline's own log
        if isinstance(stages, dict) and op != "DAG":
            sections[f"Op {op}"] = {f"{stage}(ms)": value for stage, value in stages.items()}
    lines = []
    for title, values in sections.items():
        lines.append(f"{'-' * 20} {title} {'-' * 20}")
        lines += [f"[{name}] {key}: {value}" if name else f"{key}: {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser("parse_profile")
    parser.add_argument("--benchmark_cfg", required=True, help="what was measured, as YAML")
    parser.add_argument("--benchmark_log", required=True, help="the log of a pipeline or a client")
    parser.add_argument("--output", default="std_benchmark.log", help="the file to write")
    args = parser.parse_args(argv)
    with open(args.benchmark_cfg) as f:
        cfg = _yaml(f.read(), args.benchmark_cfg)
    missing = [k for k in ("model_name", "precision", "batch_size", "input_shape", "num_of_samples") if k not in cfg]
    if missing:
        raise SystemExit(f"{args.benchmark_cfg}: {', '.join(missing)} are missing")
    with open(args.benchmark_log) as f:
        text = "".join(report(name, cfg, run, args.benchmark_log) for name, run in runs_of(f.read(), args.benchmark_log))
    sys.stdout.write(text)
    with open(args.output, "w") as f:
        f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
