"""Two hosts of a training job: network namespaces with a link between them, each with an /opt/ml of its own."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = os.path.abspath(os.environ["MASKMAKER_BIN"])
KILLS = int(os.environ.get("MASKMAKER_KILLS", "20"))
HOSTS = ("algo-1", "algo-2")
ADDRESSES = ("10.213.77.1", "10.213.77.2")

# Seconds in which all hosts end after a fault, as docs/scaling.md promises, with room for a busy machine.
FAULT_TIMEOUT_S = 30
# Seconds in which a job of this size gets anywhere; more means that it hangs.
HANG_TIMEOUT_S = 120

HYPERPARAMETERS = {
    "algorithm": "fcn", "backbone": "resnet-18", "use_pretrained_model": "False", "num_classes": "4",
    "mini_batch_size": "3", "base_size": "64", "crop_size": "32", "precision": "fp32", "syncbn": "True",
}


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


class Network:
    """Two namespaces and the link between them. Names of hosts are those of SageMaker."""

    def __init__(self):
        self.names = [f"maskmaker-{os.getpid()}-{host}" for host in HOSTS]
        ends = [f"mm{os.getpid() % 100000}{letter}" for letter in "ab"]
        self.ends = ends
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for name, end, address in zip(self.names, ends, ADDRESSES):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            # `ip netns exec` puts these files in the place of those in /etc.
            folder = Path("/etc/netns") / name
            folder.mkdir(parents=True)
            lines = ["127.0.0.1 localhost", *(f"{a} {h}" for a, h in zip(ADDRESSES, HOSTS))]
            (folder / "hosts").write_text("\n".join(lines) + "\n")
        self.set_link("up")

    def set_link(self, state):
        for name, end in zip(self.names, self.ends):
            ip("-n", name, "link", "set", end, state)

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


class Process:
    """The parent of a host's workers."""

    def __init__(self, network, host, root, arguments):
        self.root = root
        self.log = root / "log"
        command = ["ip", "netns", "exec", network.names[host], PROGRAM, "--ml-root", str(root), "train", *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MASKMAKER_", "SAGEMAKER_"))}
        environment["OMP_NUM_THREADS"] = "1"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    @property
    def id(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def wait(self, seconds):
        """Returns the exit code, and ends a process that hangs."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still there after {seconds} s:\n{self.text()[-2000:]}") from None

    def workers(self):
        """Returns the process ids of the workers by rank."""
        found = {}
        try:
            children = Path(f"/proc/{self.id}/task/{self.id}/children").read_text().split()
        except FileNotFoundError:
            return found
        for child in children:
            try:
                command = Path(f"/proc/{child}/cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "/worker-" in command:
                found[int(command.split("/worker-")[1].split(".")[0])] = int(child)
        return found


class Hosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.network = Network()

    @classmethod
    def tearDownClass(cls):
        cls.network.close()

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="maskmaker-hosts-"))
        self.roots = [self.folder / host for host in HOSTS]
        self.processes = []
        for root, host in zip(self.roots, HOSTS):
            data = root / "input/data"
            data.mkdir(parents=True)
            (root / "input/config").mkdir()
            command = [PROGRAM, "sample-data", str(data), "--images", "8", "--size", "64", "--seed", "3"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            config = {"current_host": host, "hosts": HOSTS, "network_interface_name": "eth7"}
            (root / "input/config/resourceconfig.json").write_text(json.dumps(config))

    def tearDown(self):
        for process in self.processes:
            if process.process.poll() is None:
                process.process.kill()
                process.process.wait()
        self.network.set_link("up")
        shutil.rmtree(self.folder)

    def start(self, epochs, arguments=((), ())):
        """Starts both hosts, with arguments of each."""
        for root in self.roots:
            settings = {**HYPERPARAMETERS, "epochs": str(epochs), "checkpoint_interval": "0"}
            (root / "input/config/hyperparameters.json").write_text(json.dumps(settings))
        started = [Process(self.network, host, root, arguments[host]) for host, root in enumerate(self.roots)]
        self.processes += started
        return started

    def wait_for(self, what, found):
        deadline = time.monotonic() + HANG_TIMEOUT_S
        while not found():
            self.assertLess(time.monotonic(), deadline, f"no {what}:\n" + "\n".join(p.text() for p in self.processes))
            time.sleep(0.02)

    def wait_for_step(self, process, step):
        self.wait_for(f"step {step}", lambda: f"checkpoint at step {step} " in process.text())

    def failure(self, host):
        return (self.roots[host] / "output/failure").read_text()

    def expect_fault(self, processes, texts, seconds=FAULT_TIMEOUT_S):
        """Waits for the ends of both hosts, and checks what their failure files begin with."""
        start = time.monotonic()
        for process in processes:
            self.assertEqual(process.wait(HANG_TIMEOUT_S), 1, process.text())
        took_s = time.monotonic() - start
        print(f"  ended after {took_s:.1f} s", flush=True)
        self.assertLess(took_s, seconds)
        for host, text in enumerate(texts):
            self.assertTrue(self.failure(host).startswith(text), self.failure(host))

    def expect_end(self, processes):
        for process in processes:
            self.assertEqual(process.wait(HANG_TIMEOUT_S), 0, process.text())

    def expect_whole_model(self):
        model = self.roots[0] / "model"
        for name in ["config.json", "labels.json", "metrics.json", "model.pt", "model.safetensors", "README.md"]:
            self.assertTrue((model / name).is_file(), name)
        self.assertEqual(list((self.roots[1] / "model").iterdir()), [])

    def shard(self):
        for host, root in enumerate(self.roots):
            for channel in ["train", "train_annotation"]:
                for position, path in enumerate(sorted((root / "input/data" / channel).iterdir())):
                    if position % 2 != host:
                        path.unlink()

    def test_hosts_with_the_same_data_train_as_one(self):
        self.expect_end(self.start(2, ((), ("--workers", "2"))))
        self.expect_whole_model()
        text = self.processes[0].text()
        self.assertIn("3 workers on 2 hosts: algo-1 (rank 0), algo-2 (ranks 1 and 2)", text)
        losses = [line for line in text.splitlines() if "train loss" in line]
        self.assertEqual(len(losses), 2)
        self.assertFalse((self.roots[1] / "output/failure").exists())

    def test_hosts_with_shards_train_as_one(self):
        self.shard()
        self.expect_end(self.start(2))
        self.expect_whole_model()
        self.assertIn("has 3 training images of its own", self.processes[0].text())

    def test_a_cut_link_ends_both_and_the_restart_goes_on(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 3)
        self.network.set_link("down")
        silence = "no sign of life from host"
        self.expect_fault(processes, [f"{silence} algo-2 (rank 1) for ", f"{silence} algo-1 (rank 0) for "])
        self.network.set_link("up")
        processes = self.start(1)
        self.expect_end(processes)
        self.assertIn("the job was finished after epoch", processes[0].text())

    def test_a_killed_worker_ends_both(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 1)
        os.kill(processes[1].workers()[1], signal.SIGKILL)
        self.expect_fault(processes, ["rank 1 on host algo-2 was killed by signal 9"] * 2)

    def test_a_killed_first_worker_ends_both(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 1)
        os.kill(processes[0].workers()[0], signal.SIGABRT)
        self.expect_fault(processes, ["rank 0 on host algo-1 was ended by signal 6"] * 2)

    def test_a_stuck_worker_ends_both(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 1)
        os.kill(processes[1].workers()[1], signal.SIGSTOP)
        self.expect_fault(processes, ["no sign of life from rank 1 on host algo-2"] * 2)

    def test_a_killed_parent_ends_the_other_host_and_its_own_workers(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 1)
        worker = processes[1].workers()[1]
        processes[1].process.kill()
        start = time.monotonic()
        self.assertEqual(processes[0].wait(HANG_TIMEOUT_S), 1)
        self.assertLess(time.monotonic() - start, FAULT_TIMEOUT_S)
        self.wait_for("end of the worker", lambda: not Path(f"/proc/{worker}").exists())
        # The worker of the killed parent ends a second later and breaks an exchange: that is no reason.
        reason = self.failure(0)
        self.assertTrue(reason.startswith("no sign of life from host algo-2 (rank 1) for "), reason)

    def test_a_stop_on_one_host_stops_both_with_a_checkpoint(self):
        processes = self.start(500)
        self.wait_for_step(processes[0], 2)
        processes[1].process.terminate()
        self.expect_end(processes)
        self.assertIn("asked to stop in epoch", processes[0].text())

    def test_a_host_that_never_starts_is_named(self):
        arguments = ("--rendezvous-timeout", "3")
        for host in range(2):
            root = self.roots[host]
            (root / "input/config/hyperparameters.json").write_text(json.dumps(HYPERPARAMETERS))
            process = Process(self.network, host, root, arguments)
            self.assertEqual(process.wait(HANG_TIMEOUT_S), 3, process.text())
        self.assertIn("algo-2 did not come within 3 s", self.failure(0))
        self.assertIn("host algo-2 cannot reach host algo-1 on port 29400", self.failure(1))

    def test_random_kills_never_hang(self):
        rng = random.Random(1)
        for number in range(KILLS):
            # A host that is killed before the hosts met is one that does not come.
            processes = self.start(500, (("--rendezvous-timeout", "10"),) * 2)
            # From before the hosts meet to the middle of training, validation and checkpoints.
            time.sleep(rng.uniform(0.05, 4))
            victim = rng.choice(processes)
            workers = victim.workers()
            if workers and rng.random() < 0.75:
                name, process_id = rng.choice(sorted(workers.items()))
                name = f"rank {name}"
            else:
                name, process_id = "parent", victim.id
            start = time.monotonic()
            os.kill(process_id, signal.SIGKILL)
            codes = [process.wait(HANG_TIMEOUT_S) for process in processes]
            took_s = time.monotonic() - start
            print(f"  kill {number + 1} of {name}: codes {codes} after {took_s:.1f} s", flush=True)
            self.assertLess(took_s, FAULT_TIMEOUT_S)
            self.assertNotIn(0, codes)
        processes = self.start(1)
        self.expect_end(processes)
        self.expect_whole_model()


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=2).result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"hosts: {result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
