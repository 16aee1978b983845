#!/usr/bin/env python3
"""maskmaker's server beside its peers on the same machine, with the same weights and pictures. benches/serve.sh calls it.

Every round starts each server in turn, for each case, and asks it with benches/serve/load.rs: JPEG in, PNG of class ids out.
Rates are answers per second from the first request to the last answer. "Outside" is the client's time without the stages
decode, queue, model and encode, as the server names them in the header Server-Timing (the peers' handlers measure their own).
"+queue" is the same with the queue: of a lone client it is what a server takes to hand work from one thread to another, which
the peers' own front ends cannot tell from the rest.
"First mask" is from the start of the process to the end of the first answer with 200, files being in the page cache.
Peak memory is the sum over the server's processes of VmHWM less what they share (RSS - PSS at the end). PyTorch as PyPI has
it maps gigabytes of GPU libraries, which on a machine without a GPU are of no use; memory is therefore shown and judged
without what of them is resident.
Imports nothing that a server maps too: PSS would count it as shared.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORES = len(os.sched_getaffinity(0))
# Model and size; the first two with a model of 130 MB, the last leaves only the server to measure.
CASES = {"fcn-640x480": ("fcn", "640x480"), "fcn-160x120": ("fcn", "160x120"), "conv-160x120": ("conv", "160x120")}
PEERS = ["fastapi", "toolkit", "torchserve"]
OURS = {"maskmaker-fp32": "fp32", "maskmaker-auto": "auto"}
# For throughput, besides one worker that computes on all cores: a worker for each core, and the batches that TorchServe makes.
MORE = [*([f"{peer}-x{CORES}" for peer in PEERS] if CORES > 1 else []), "torchserve-b8"]
SERVERS = [*OURS, *PEERS, *MORE]
GPU = re.compile(
    r"/nvidia/|/lib(torch_cuda|c10_cuda|torch_nvshmem|caffe2_nvrtc|cu(da|dnn|blas|fft|file|rand|solver|sparse|pti)|nccl|nv)[^/]*\.so"
)
# What a mask may differ in: 8-bit rounding of JPEG decoders and 32-bit sums, and bfloat16 on top.
DIFFERING = {"fp32": 0.005, "auto": 0.02}


def free_ports(count):
    """Below what the system gives to connections, and what the toolkit's Java takes for a port (a 16-bit number with sign)."""
    ports = []
    for port in random.sample(range(20000, 32000), 12000):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    sys.exit("no free port between 20000 and 32000")


class Server:
    """A running server: its command in a session of its own, so that all it starts can be found and ended."""

    def __init__(self, name, model, args, place):
        self.name, self.place = name, place
        kind = name if name in OURS else name.partition("-")[0]
        more = re.fullmatch(r".*-([xb])(\d+)", name) if name in MORE else None
        workers = int(more[2]) if more and more[1] == "x" else 1
        self.batch = int(more[2]) if more and more[1] == "b" else 1
        port, *others = free_ports(5)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MASKMAKER_", "SAGEMAKER_", "MMS_", "TS_"))}
        # Their sockets and files of fixed names go into a folder of this run.
        clean |= {"TMPDIR": str(place), "TEMP": str(place), "LOG_LOCATION": str(place), "METRICS_LOCATION": str(place)}
        self.path = "/invocations"
        if kind in OURS:
            # A slow machine would have more than 20 s of work waiting, of which ours refuses the rest; the peers' queues hold
            # 100 requests however long they take.
            environment = clean | {"MASKMAKER_PRECISION": OURS[kind], "MASKMAKER_MAX_WAIT": "120"}
            command = [args.maskmaker, "--ml-root", args.data / model, "serve", "--host", "127.0.0.1", "--port", port]
        else:
            python = args.venvs / kind / "bin"
            environment = clean | {"SERVE_MODEL": str(args.data / model / "peers"), "PYTHONPATH": str(HERE)}
            environment |= {"OMP_NUM_THREADS": str(max(1, CORES // workers)), "PATH": f"{python}:{clean['PATH']}"}
            command = getattr(self, kind)(python, workers, port, others)
            environment |= self.extra
        self.address = f"127.0.0.1:{port}"
        self.log = open(place / "output", "w+")
        self.start = time.perf_counter()
        self.process = subprocess.Popen(
            list(map(str, command)),
            env=environment,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    extra: dict[str, str] = {}

    def fastapi(self, python, workers, port, others):
        several = ["--workers", workers] if workers > 1 else []
        return [python / "uvicorn", "fastapi_app:app", "--host", "127.0.0.1", "--port", port, *several]

    def toolkit(self, python, workers, port, others):
        """As sagemaker_inference.model_server starts it; that function itself writes into /etc and looks for /opt/ml."""
        (package,) = (python.parent / "lib").glob("python*/site-packages/sagemaker_inference")
        config = self.place / "mms.properties"
        config.write_text(
            (package / "etc/default-mms.properties").read_text()
            + f"\ndefault_workers_per_model={workers}\ndefault_response_timeout=300\nvmargs=-XX:-UseContainerSupport\n"
            f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port}\n"
            "default_service_handler=sagemaker_inference.default_handler_service\n"
        )
        self.extra = {"SAGEMAKER_PROGRAM": "toolkit_handler.py", "SAGEMAKER_BASE_DIR": str(self.place)}
        model = self.place / "model"
        model.mkdir()
        command = [python / "multi-model-server", "--start", "--foreground", "--model-store", "/"]
        command += ["--mms-config", config, "--log-config", package / "etc/log4j2.xml"]
        return [*command, "--models", f"model={model}"]

    def torchserve(self, python, workers, port, others):
        # An archive that is a folder: nothing to unpack at the start.
        model = self.place / "store/segment"
        (model / "MAR-INF").mkdir(parents=True)
        shutil.copy(HERE / "torchserve_handler.py", model)
        manifest = {"modelName": "segment", "handler": "torchserve_handler.py", "modelVersion": "1.0"}
        manifest = {"runtime": "python", "model": manifest, "archiverVersion": "0.12.0"}
        (model / "MAR-INF/MANIFEST.json").write_text(json.dumps(manifest))
        setting = {"minWorkers": workers, "maxWorkers": workers, "batchSize": self.batch, "maxBatchDelay": 5}
        setting = {"segment": {"1.0": {"marName": "segment", "responseTimeout": 300, **setting}}}
        config = self.place / "config.properties"
        config.write_text(
            f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{others[0]}\n"
            f"metrics_address=http://127.0.0.1:{others[1]}\ngrpc_inference_port={others[2]}\n"
            f"grpc_management_port={others[3]}\ndefault_workers_per_model={workers}\ndefault_response_timeout=300\n"
            f"models={json.dumps(setting)}\n"
        )
        self.path = "/predictions/segment"
        command = [python / "torchserve", "--start", "--foreground", "--disable-token-auth", "--ncs"]
        return [*command, "--ts-config", config, "--model-store", self.place / "store", "--models", "segment=segment"]

    def processes(self):
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            # State and session.
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(stat.parent)
        return found

    def memory(self):
        """MiB at the peak: all, and of it GPU libraries."""
        peak = gpu = 0
        for process in self.processes():
            try:
                peak += int(re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())[1])
                maps = (process / "smaps").read_text()
            except (OSError, TypeError):
                continue
            for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", maps):
                pss, rss = (int(re.search(rf"^{name}:\s+(\d+)", mapping, re.M)[1]) for name in ("Pss", "Rss"))
                peak += pss - rss
                gpu += pss if GPU.search(mapping.partition("\n")[0]) else 0
        return peak / 1024, gpu / 1024

    def stop(self):
        # Whatever it started goes with it, at once: how it shuts down is not measured here.
        for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            for process in self.processes():
                try:
                    os.kill(int(process.name), sign)
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
            end = time.monotonic() + patience
            while self.processes() and time.monotonic() < end:
                time.sleep(0.05)
            if not self.processes():
                break
        self.log.close()

    def fail(self, what):
        self.log.flush()
        self.log.seek(0)
        tail = "".join(self.log.readlines()[-40:])
        sys.exit(f"{self.name}: {what}; it said:\n{tail}")


def load(server, args, files, *flags):
    """The answers' JSON, and how much processor time per second asking took."""
    command = [args.load, "--address", server.address, "--path", server.path, *map(str, flags), *files]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            try:
                said, complaints = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if server.process.poll() is not None:
                    server.fail(f"ended with {server.process.returncode}")
    finally:
        process.kill()
    if process.returncode != 0:
        server.fail(complaints.strip())
    if not said:
        return None
    seen = json.loads(said)
    if seen["errors"] or set(seen["statuses"]) != {"200"}:
        server.fail(f"{seen['errors']} errors, statuses {seen['statuses']}: {complaints.strip()}")
    seen["rate"] = seen["answered"] / seen["seconds"]
    return seen


def measure(name, case, args, masks):
    model, size = CASES[case]
    files = sorted((args.data / "pictures" / size).glob("*.jpg"))
    with tempfile.TemporaryDirectory() as place:
        server = Server(name, model, args, Path(place))
        try:
            load(server, args, files, "--first", "--timeout", 120)
            seen = {"first": time.perf_counter() - server.start, "clients": {}}
            masks.mkdir(parents=True, exist_ok=True)
            # Every picture once to compare the masks, and enough of them that every worker has had some.
            load(server, args, files, "--requests", 2 * len(files), "--save", masks)
            for clients in args.clients:
                if name in MORE and clients == 1:
                    continue
                load(server, args, files, "--clients", clients, "--requests", min(clients, 4))
                seconds = args.seconds if size == "640x480" else args.seconds / 2
                seen["clients"][clients] = load(server, args, files, "--clients", clients, "--seconds", seconds)
            seen["peak"], seen["gpu"] = server.memory()
        finally:
            server.stop()
    return seen


def compare_masks(args, folder, case, names):
    """Holds every server's masks against the first peer's; names who differs."""
    theirs = next((name for name in names if name in PEERS), None)
    wrong = []
    for name in names:
        if theirs is None or name == theirs:
            continue
        command = [args.python, HERE / "make.py", "check", folder / case / name, folder / case / theirs]
        share = float(subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{case}: {share:.3%} of the pixels of {name} have another class than {theirs}'s", file=sys.stderr)
        if share > DIFFERING[OURS.get(name, "fp32")]:
            wrong.append(f"{case}: {share:.2%} of {name}'s pixels have another class than {theirs}'s")
    return wrong


def median(runs, *keys):
    values = []
    for run in runs:
        for key in keys:
            run = (run or {}).get(key)
        if run is not None:
            values.append(run)
    return statistics.median(values) if values else None


def shown(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def report(args, runs):
    """The tables; (what, value, at most or at least, limit) of each target that was measured."""
    targets = []
    for case in args.cases:
        of = {name: runs[name, case] for name in args.servers if (name, case) in runs}
        print(f"\n{case}, {CORES} cores, medians of {args.rounds} rounds")
        head = "".join(f"{clients} client{'s' * (clients > 1)}".rjust(30) for clients in args.clients)
        units = "".join(unit.rjust(10) for unit in ("/s", "p50 ms", "p99 ms")) * len(args.clients)
        print(f"{'':16}{head}{'outside':>10}{'+queue':>8}{'first':>8}{'peak MiB':>10}{'with GPU':>10}")
        print(f"{'':16}{units}{'ms':>10}{'ms':>8}{'mask s':>8}{'':>10}{'libs':>10}")
        for name, its in of.items():
            columns = "".join(
                f"{shown(median(its, 'clients', clients, 'rate')):>10}"
                f"{shown(median(its, 'clients', clients, 'ms', 'p50')):>10}"
                f"{shown(median(its, 'clients', clients, 'ms', 'p99')):>10}"
                for clients in args.clients
            )
            peak, gpu = median(its, "peak"), median(its, "gpu")
            outside, queue = (median(its, "clients", 1, *key, "p50") for key in (["outside_ms"], ["stages_ms", "queue"]))
            more = None if outside is None else outside + (queue or 0)
            times = f"{shown(outside):>10}{shown(more):>8}{shown(median(its, 'first')):>8}"
            print(f"{name:16}{columns}{times}{peak - gpu:10.0f}{peak:10.0f}")

        def best(clients):
            rates = {name: median(its, "clients", clients, "rate") for name, its in of.items() if name not in OURS}
            rates = {name: rate for name, rate in rates.items() if rate}
            return max(rates.items(), key=lambda pair: pair[1], default=(None, None))

        for ours in (name for name in OURS if name in of):
            ratios = {}
            for clients in args.clients:
                who, rate = best(clients)
                if rate:
                    ratios[clients] = median(of[ours], "clients", clients, "rate") / rate
                    print(f"{ours} at {clients} clients: {ratios[clients]:.2f} times the rate of {who}, the best peer")
            exact = ours == "maskmaker-fp32"
            if case == "fcn-640x480" and ratios and (exact or is_auto_bf16()):
                lowest = min(ratios, key=ratios.get)
                what = f"{case}, {ours}: rate beside the best peer's (lowest ratio, at {lowest} clients)"
                targets.append((what, ratios[lowest], "least", 1.05 if exact else 1.5))
            if case == "fcn-160x120" and 16 in ratios and exact:
                targets.append((f"{case}, {ours}: rate beside the best peer's at 16 clients", ratios[16], "least", 1.2))
            if case == "conv-160x120" and 4 in ratios and exact:
                targets.append((f"{case}, {ours}: rate beside the best peer's at 4 clients", ratios[4], "least", 1.5))
            outside = median(of[ours], "clients", 1, "outside_ms", "p50")
            if case == "conv-160x120" and 1 in args.clients and exact:
                # Without the header nothing is known, which is no pass.
                value = float("inf") if outside is None else outside
                targets.append((f"{case}, {ours}: ms outside the stages at one client", value, "most", 0.3))
            if case.startswith("fcn"):
                targets.append((f"{case}, {ours}: seconds to the first mask", median(of[ours], "first"), "most", 1.0))
            for peer, limit in (("fastapi", 0.7), ("torchserve", 0.5)):
                if case.startswith("fcn") and peer in of:
                    ratio = lean(of[ours]) / lean(of[peer])
                    targets.append((f"{case}, {ours}: peak memory beside {peer}'s", ratio, "most", limit))
    return targets


def lean(runs):
    return median(runs, "peak") - median(runs, "gpu")


def is_auto_bf16():
    """Whether auto is another arithmetic than fp32 here."""
    processor = set(Path("/proc/cpuinfo").read_text().split())
    return "amx_bf16" in processor or {"avx512_bf16", "AuthenticAMD"} <= processor


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("maskmaker", "load", "python", "venvs"):
        parser.add_argument(name, type=lambda text: Path(text).absolute())
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--clients", type=lambda text: sorted(map(int, text.split(","))))
    parser.add_argument("--cases", type=lambda text: text.split(","), default=list(CASES))
    parser.add_argument("--servers", type=lambda text: text.split(","), default=SERVERS)
    parser.add_argument("--data", type=lambda text: Path(text).absolute())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (1 if args.quick else 15)
    args.clients = args.clients or ([1, 4] if args.quick else [1, 4, 16])
    for got, known in ((args.cases, list(CASES)), (args.servers, SERVERS)):
        if unknown := [name for name in got if name not in known]:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return args


def run(args, scratch):
    start = time.monotonic()
    args.data = args.data or scratch / "data"
    if not (args.data / "conv/model/model.pt").exists():
        print("making pictures and models", file=sys.stderr)
        subprocess.run([args.python, HERE / "make.py", "data", args.data], check=True)
    runs, wrong = {}, []
    for number in range(1, args.rounds + 1):
        for case in args.cases:
            # bfloat16 is a matter of networks; one convolution leaves only the server to measure.
            names = [name for name in args.servers if not (name == "maskmaker-auto" and case.startswith("conv"))]
            # Each round begins with another: what starts after a large process has ended starts slower.
            first = (number - 1) % len(names)
            for name in names[first:] + names[:first]:
                print(f"round {number} of {args.rounds}, load {os.getloadavg()[0]:.2f}: {case}, {name}", file=sys.stderr)
                seen = measure(name, case, args, scratch / "masks" / case / name)
                runs.setdefault((name, case), []).append(seen)
            if number == 1:
                wrong += compare_masks(args, scratch / "masks", case, names)
    if args.json:
        args.json.write_text(json.dumps([{"server": s, "case": c, "rounds": its} for (s, c), its in runs.items()]))
    targets = report(args, runs)
    print()
    for what, value, kind, limit in targets:
        missed = value > limit if kind == "most" else value < limit
        print(f"{'MISSED' if missed else 'met':7}{what}: {value:.2f}, at {kind} {limit:g}")
        if missed and not args.quick:
            wrong.append(f"{what} is {value:.2f}, at {kind} {limit:g} is wanted")
    print(f"{(time.monotonic() - start) / 60:.0f} minutes", file=sys.stderr)
    if wrong:
        sys.exit("\n".join(wrong))


def main():
    # Leaves through `finally`, which ends the server.
    for sign in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(sign, lambda number, frame: sys.exit(128 + number))
    args = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        run(args, Path(scratch))


if __name__ == "__main__":
    main()
