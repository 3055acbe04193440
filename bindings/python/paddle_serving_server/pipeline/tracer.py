"""The tracer of a pipeline: every interval a block of figures in PipelineServingLogs/pipeline.tracer, and with
FLAGS_profile_pipeline=1 the same as YAML in benchmark.log. The figures are the server's, which is asked for them."""
import http.client
import json
import os
import sys
import time

from . import log

QUANTILES = (50, 60, 70, 80, 90, 95, 99)
STAGES = ("in", "prep", "midp", "postp", "out")


def ask_interval(port):
    """What happened since the last such question."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v2/crew/interval")
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise OSError(f"the server answers {reply.status}")
        return json.loads(body)
    finally:
        connection.close()


class Tracer:
    """tick() is called often and does something once an interval."""

    def __init__(self, conf, port):
        self.conf, self.port = conf, port
        self.interval_s = conf["dag"]["tracer_interval_s"]
        self.benchmark = os.environ.get("FLAGS_profile_pipeline") == "1"
        self.next = time.monotonic() + self.interval_s
        self.before = {}  # operator -> its sums at the last look

    def tick(self):
        if self.interval_s <= 0 or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + self.interval_s
        try:
            figures = self.figures(ask_interval(self.port))
            with open(os.path.join(log.folder(), "pipeline.tracer"), "a") as f:
                f.write(self.block(figures))
            if self.benchmark:
                with open("benchmark.log", "w") as f:
                    f.write(self.yaml(figures))
        except (OSError, ValueError) as e:
            print(f"pipeline: the tracer missed an interval: {e}", file=sys.stderr, flush=True)

    # ---- figures ----

    def figures(self, seen):
        times = sorted(t / 1000 for t in seen["latest_us"])
        count = seen["count"]
        return {
            "count": count, "qps": count / self.interval_s, "succ": (count - seen["failed"]) / count if count else 0.0, "bad": seen["bad"],
            "ave": seen["sum_us"] / count / 1000 if count else 0.0,
            "latency": {q: times[min(int(len(times) * q / 100), len(times) - 1)] if times else 0.0 for q in QUANTILES},
            "ops": [self._op(o) for o in seen["operators"]],
            "channels": [(o["name"], o["queued"], o["channel_size"], o["queued_most"]) for o in seen["operators"]],
            "workers": seen["processes"], "restarts": seen["restarts"],
        }

    def _op(self, o):
        before = self.before.get(o["name"], {})
        self.before[o["name"]] = o
        delta = {k: o[k] - before.get(k, 0) for k in ("in_us", "prep_us", "midp_us", "postp_us", "batches", "requests")}
        batches, requests = max(delta["batches"], 1), max(delta["requests"], 1)
        ms = {"in": delta["in_us"] / requests / 1000, "prep": delta["prep_us"] / batches / 1000, "midp": delta["midp_us"] / batches / 1000,
              "postp": delta["postp_us"] / batches / 1000, "out": 0.0}
        busy_s = (delta["prep_us"] + delta["midp_us"] + delta["postp_us"]) / 1e6
        return o["name"], ms, max(0.0, 1.0 - busy_s / (self.interval_s * max(o["slots"], 1)))

    # ---- text ----

    def block(self, f):
        lines = [f"{time.strftime('%Y-%m-%d %H:%M:%S')} ==================== TRACER ======================"]
        for name, ms, idle in f["ops"]:
            lines.append(f"Op({name}):")
            lines += [f"\t{stage}[{ms[stage]} ms]" for stage in STAGES] + [f"\tidle[{idle:.2f}]"]
        lines += ["DAGExecutor:", f"\tQuery count[{f['count']}]", f"\tQPS[{f['qps']} q/s]", f"\tSucc[{f['succ']}]",
                  f"\tError req[{', '.join(map(str, f['bad']))}]", "\tLatency:", f"\t\tave[{f['ave']} ms]"]
        lines += [f"\t\t.{q}[{ms} ms]" for q, ms in f["latency"].items()]
        lines.append(f"Channel (server worker num[{self.conf['worker_num']}]):")
        lines += [f"\t{name}(In: ['{name}'], Out: ['{name}']) size[{now}/{most}]" for name, now, most, _ in f["channels"]]
        lines.append(f"Workers: processes[{f['workers']}] restarts[{f['restarts']}]")
        return "\n".join(lines) + "\n"

    @staticmethod
    def yaml(f):
        lines = ["DAG:", f"  query_count: {f['count']}", f"  qps: {f['qps']}", f"  succ: {f['succ']}", f"  avg: {f['ave']}"]
        lines += [f"  '{q}': {ms}" for q, ms in f["latency"].items()]
        for name, ms, idle in f["ops"]:
            lines += [f"{name}:"] + [f"  {stage}: {ms[stage]}" for stage in STAGES] + [f"  idle: {idle}"]
        return "\n".join(lines) + "\n"
