"""Analyst: reads a tracer's log and says what each operator takes."""
import json
import re


class OpAnalyst:
    """Times of operators, from the lines of the tracer's blocks."""

    def __init__(self, times):
        self._times = times

    def times(self):
        """{operator: {stage: mean milliseconds}}"""
        return self._times

    def qps(self, op_name=None):
        """Requests a second that one worker of the operator can do."""
        all_ = {op: 1000.0 / sum(stages.values()) if sum(stages.values()) else 0.0 for op, stages in self._times.items()}
        return all_ if op_name is None else all_[op_name]

    def concurrency_analysis(self, op_config_yaml):
        """{operator: QPS with the concurrency of the configuration}"""
        import yaml
        with open(op_config_yaml) as f:
            conf = yaml.safe_load(f)
        return {op: qps * int((conf.get("op") or conf.get("ops") or {}).get(op, {}).get("concurrency", 1)) for op, qps in self.qps().items()}


class Analyst:
    """Of PipelineServingLogs/pipeline.tracer, or of the PROFILE lines that dag.use_profile writes."""

    STAGES = ("in", "prep", "midp", "postp", "out")

    def __init__(self, profile_file):
        with open(profile_file) as f:
            self._text = f.read()

    def get_op_analyst(self):
        sums = {}
        for name, block in re.findall(r"Op\(([^)]+)\):\n((?:.*ms\].*\n)+)", self._text):
            stages = sums.setdefault(name, {})
            for stage in self.STAGES:
                for ms in re.findall(rf"\b{stage}\[([\d.]+) ms\]", block):
                    stages.setdefault(stage, []).append(float(ms))
        return OpAnalyst({op: {s: sum(v) / len(v) for s, v in stages.items()} for op, stages in sums.items()})

    def get_dag_analyst(self):
        return {"QPS": [float(q) for q in re.findall(r"QPS\[([\d.]+) q/s\]", self._text)],
                "Succ": [float(q) for q in re.findall(r"Succ\[([\d.]+)\]", self._text)]}

    def save_trace(self, trace_file):
        """The PROFILE lines as a Chrome trace."""
        from paddle_serving_app.trace import events_of
        with open(trace_file, "w") as f:
            json.dump([e for line in self._text.splitlines() for e in events_of(line)], f)
