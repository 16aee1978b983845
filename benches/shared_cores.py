#!/usr/bin/env python3
"""Times training steps of one process and of two on the same cores, of maskmaker and of PyTorch, and shows where the time goes.

Each setting runs for a window of some seconds, after every process has ended a step. A row of the table says, of the window:
images/s of each process and of all; that sum beside one process alone; cores that were busy (processor seconds per second),
threads that were ready but waited for a core, and switches of threads per step: those by a wait (voluntary) and those by the
kernel. Source of the last four: /proc/PID/task/*/schedstat and status.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time

BUSY = [sys.executable, "-c", "while True: pass"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="the built example train_step")
    parser.add_argument("--seconds", type=float, default=15, help="length of a window")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each setting, in turn")
    parser.add_argument("--images", type=int, default=4, help="images of a batch")
    parser.add_argument("--side", type=int, default=96, help="side of the images, in pixels")
    return parser.parse_args()


class Process:
    """A process that prints a line per step, and the lines that came."""

    def __init__(self, command, environment):
        self.steps = 0
        self.is_stepping = environment is not None
        environment = {**os.environ, **(environment or {})}
        self.child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.count_steps, daemon=True).start()

    def count_steps(self):
        for line in self.child.stdout:
            json.loads(line)
            self.steps += 1

    def usage(self):
        """Returns seconds on a core, seconds ready without one, and both counts of switches, of all threads so far."""
        run = wait = voluntary = forced = 0
        folder = f"/proc/{self.child.pid}/task"
        for thread in os.listdir(folder):
            with open(f"{folder}/{thread}/schedstat") as f:
                run_ns, wait_ns, _ = map(int, f.read().split())
            run, wait = run + run_ns / 1e9, wait + wait_ns / 1e9
            with open(f"{folder}/{thread}/status") as f:
                for line in f:
                    if line.startswith("voluntary_ctxt_switches"):
                        voluntary += int(line.split()[1])
                    elif line.startswith("nonvoluntary_ctxt_switches"):
                        forced += int(line.split()[1])
        return run, wait, voluntary, forced


def run_window(commands, seconds):
    """Runs the commands side by side; returns of each that steps its steps in the window and its usage."""
    processes = [Process(command, environment) for command, environment in commands]
    stepping = [process for process in processes if process.is_stepping]
    try:
        while any(process.steps == 0 for process in stepping):
            for process in stepping:
                if process.child.poll() is not None:
                    sys.exit(f"a process ended with {process.child.returncode} before its first step")
            time.sleep(0.01)
        before = [(process.steps, process.usage()) for process in stepping]
        start = time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - start
        results = []
        for process, (steps, usage) in zip(stepping, before):
            change = [after - earlier for after, earlier in zip(process.usage(), usage)]
            results.append({"steps": (process.steps - steps) / elapsed, "usage": [value / elapsed for value in change]})
        return results
    finally:
        for process in processes:
            process.child.kill()
            process.child.wait()


def main():
    args = arguments()
    cores = len(os.sched_getaffinity(0))
    half = max(1, cores // 2)
    flags = ["--steps", "1000000", "--warmup", "1", "--images", str(args.images), "--side", str(args.side)]
    programs = {"maskmaker": [args.ours], "PyTorch": [sys.executable, "benches/train_step.py"]}

    def settings(program):
        def step(threads, **environment):
            return [*program, *flags, "--threads", str(threads)], environment

        return {
            f"alone, {cores} threads": [step(cores)],
            f"alone, {half} threads": [step(half)],
            f"two, {cores} threads each": [step(cores)] * 2,
            f"two, {cores} threads each, OMP_WAIT_POLICY=passive": [step(cores, OMP_WAIT_POLICY="passive")] * 2,
            f"two, {cores} threads each, GOMP_SPINCOUNT=1000": [step(cores, GOMP_SPINCOUNT="1000")] * 2,
            f"two, {half} threads each": [step(half)] * 2,
            f"beside a busy process, {cores} threads": [step(cores), (BUSY, None)],
            f"beside a busy process, {half} threads": [step(half), (BUSY, None)],
        }

    rows = {}
    for number in range(1, args.rounds + 1):
        for who, program in programs.items():
            for name, commands in settings(program).items():
                print(f"round {number} of {args.rounds}: {who}, {name}", file=sys.stderr)
                rows.setdefault((who, name), []).append(run_window(commands, args.seconds))

    print(f"batches of {args.images} images of {args.side}x{args.side}, {cores} cores, windows of {args.seconds} s, medians")
    print("| | images/s of each | of all | beside one alone | cores busy | threads waiting | waits per step | forced per step |")
    print("|---|---|---|---|---|---|---|---|")
    for who in programs:
        alone = None
        for name in settings([]):
            windows = rows[who, name]
            each = [[process["steps"] * args.images for process in window] for window in windows]
            total = statistics.median(sum(values) for values in each)
            alone = alone or total
            run, wait, voluntary, forced = (
                statistics.median(sum(process["usage"][index] for process in window) for window in windows) for index in range(4)
            )
            steps = max(total / args.images, 1e-9)
            shown = ", ".join(f"{statistics.median(values):.1f}" for values in zip(*map(sorted, each)))
            print(
                f"| {who}: {name} | {shown} | {total:.1f} | {total / alone:.2f} | {run:.2f} | {wait:.2f} "
                f"| {voluntary / steps:.0f} | {forced / steps:.0f} |"
            )


if __name__ == "__main__":
    main()
