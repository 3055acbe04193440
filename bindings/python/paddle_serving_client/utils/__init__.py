"""What the original's benchmark scripts use."""
import argparse
import multiprocessing

import numpy as np


def benchmark_args():
    parser = argparse.ArgumentParser("benchmark")
    parser.add_argument("--thread", type=int, default=10, help="concurrency")
    parser.add_argument("--model", type=str, default="", help="model for evaluation")
    parser.add_argument("--endpoint", type=str, default="127.0.0.1:9292", help="endpoint of server")
    parser.add_argument("--request", type=str, default="rpc", help="mode of service: rpc or http")
    parser.add_argument("--batch_size", type=int, default=1, help="batch size")
    return parser.parse_args()


def show_latency(latency_list):
    """Mean, median and upper percentiles of times in milliseconds."""
    latency = np.array(latency_list)
    info = "latency:\n"
    info += "mean: {} ms\n".format(np.mean(latency))
    info += "median: {} ms\n".format(np.median(latency))
    for p in (80, 90, 99):
        info += "{} percent: {} ms\n".format(p, np.percentile(latency, p))
    print(info)


def _run(thread_func, index, resource, results):
    results.put((index, thread_func(index, resource)))


class MultiThreadRunner:
    """Runs func(index, resource) in as many processes; each returns a list of lists, which are joined position by position."""

    def run(self, thread_func, thread_num, global_resource):
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        processes = [context.Process(target=_run, args=(thread_func, i, global_resource, queue)) for i in range(thread_num)]
        for p in processes:
            p.start()
        results = sorted((queue.get() for _ in processes), key=lambda r: r[0])
        for p in processes:
            p.join()
        total = [list(part) for part in results[0][1]]
        for _, result in results[1:]:
            for i, part in enumerate(result):
                total[i] += list(part)
        return total
