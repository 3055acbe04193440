"""python -m paddle_serving_app.trace --profile_file F --trace_file T: PROFILE lines as a Chrome trace."""
import argparse
import json


def events_of(line):
    """The events of one PROFILE line: NAME_0 begins and NAME_1 ends; NAME#TID gives a row of its own."""
    parts = line.rstrip("\n").split("\t")
    if parts[0] != "PROFILE" or len(parts) < 3:
        return []
    pid, events = parts[1].partition(":")[2], []
    for item in parts[2].split():
        name, _, us = item.rpartition(":")
        name, _, which = name.rpartition("_")
        if which not in ("0", "1") or not us.isdigit():
            continue
        name, _, tid = name.partition("#")
        events.append({"name": name, "tid": tid or 0, "pid": pid, "ts": int(us), "ph": "B" if which == "0" else "E"})
    return events


def main(argv=None):
    parser = argparse.ArgumentParser("trace")
    parser.add_argument("--profile_file", required=True, help="file with the PROFILE lines of a client or a pipeline")
    parser.add_argument("--trace_file", default="trace", help="file for the trace (chrome://tracing)")
    args = parser.parse_args(argv)
    with open(args.profile_file) as f, open(args.trace_file, "w") as out:
        json.dump([e for line in f for e in events_of(line)], out)
    return 0
