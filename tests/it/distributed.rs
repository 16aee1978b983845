//! A training job of several workers, on one host or on several: it learns what one process learns,
//! and ends as one. Hosts are two roots on this machine, which meet over loopback.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::checkpoints::Running;
use crate::job::{Job, Run, maskmaker, names};

/// Names of two hosts, both of which are this machine.
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// Longest time of a job here; all end within seconds.
const TIMEOUT: Duration = Duration::from_mins(3);

fn job(epochs: usize) -> Job {
    let epochs = epochs.to_string();
    Job::new().with("epochs", &epochs).with("precision", "fp32").with("checkpoint_interval", "0")
}

fn run_with_workers(job: &Job, workers: usize) -> Run {
    job.run(&["train", "--workers", &workers.to_string()])
}

fn train_with_workers(job: &Job, workers: usize) -> Run {
    let run = run_with_workers(job, workers);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    run
}

fn failure(job: &Job) -> String {
    fs::read_to_string(job.path("output/failure")).unwrap()
}

fn metrics(job: &Job) -> Value {
    serde_json::from_slice(&fs::read(job.path("model/metrics.json")).unwrap()).unwrap()
}

/// Returns the training losses of all epochs.
fn losses(job: &Job) -> Vec<f64> {
    let metrics = metrics(job);
    let epochs = metrics["epochs"].as_array().unwrap();
    epochs.iter().map(|epoch| epoch["train_loss"].as_f64().unwrap()).collect()
}

/// Returns the process ids of the workers of a parent by rank.
fn worker_ids(parent: u32) -> Vec<(usize, u32)> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let mut workers = Vec::new();
    for id in children.unwrap_or_default().split_whitespace() {
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        if let Some((_, rest)) = command.split_once("/worker-")
            && let Some((rank, _)) = rest.split_once(".json")
        {
            workers.push((rank.parse().unwrap(), id.parse().unwrap()));
        }
    }
    workers
}

fn send_signal(id: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
}

/// Waits until a process is gone, or has ended and waits for its parent.
fn wait_until_gone(id: u32) {
    let deadline = Instant::now() + TIMEOUT;
    while fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "process {id} goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn workers_learn_and_score_what_one_process_does() {
    let alone = job(2).with("syncbn", "True");
    alone.train();
    let shared = job(2).with("syncbn", "True");
    let run = train_with_workers(&shared, 2);
    assert!(
        run.stdout.contains("2 workers on 1 host: localhost (ranks 0 and 1)"),
        "{}",
        run.stdout
    );
    let line = "each of 2 workers computes 2 or 1 images of a step";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    assert!(run.stdout.contains("workers sum over Gloo: 8 MiB in "), "{}", run.stdout);
    // Gloo's own line.
    assert!(
        !run.stdout.contains("[Gloo]") && run.stderr.is_empty(),
        "{}{}",
        run.stdout,
        run.stderr
    );
    for (alone, shared) in losses(&alone).iter().zip(losses(&shared)) {
        assert!((alone - shared).abs() < 1e-2 * alone, "{alone} and {shared}");
    }
    // Every validation image was scored once.
    let pixels = |job: &Job| {
        let metrics = metrics(job);
        let rows = metrics["confusion_matrix"].as_array().unwrap();
        let cells = rows.iter().flat_map(|row| row.as_array().unwrap());
        cells.map(|cell| cell.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(pixels(&alone), pixels(&shared));
    assert_eq!(names(&alone.path("model")), names(&shared.path("model")));
}

#[test]
fn a_job_goes_on_with_any_number_of_workers() {
    let mut job = job(1);
    train_with_workers(&job, 1);
    for workers in [2, 3, 1] {
        job.set("epochs", &(losses(&job).len() + 1).to_string());
        let run = train_with_workers(&job, workers);
        assert!(run.stdout.contains("going on from the checkpoint at step"), "{}", run.stdout);
    }
    assert_eq!(losses(&job).len(), 4);
    // A finished job is finished whatever the number.
    let run = train_with_workers(&job, 2);
    assert!(run.stdout.contains("the job was finished after epoch 4"), "{}", run.stdout);
}

#[test]
fn a_killed_worker_ends_the_job_by_name_and_the_same_job_goes_on() {
    let mut job = job(500);
    job.configure();
    let mut running = Running::start_with(&job, &["--workers", "2"]);
    // In the second epoch, so that the first one is done when the job is started again.
    running.read_until(|line| line.starts_with("checkpoint at step 3").then_some(())).unwrap();
    let workers = worker_ids(running.id());
    let (_, killed) = workers.iter().find(|(rank, _)| *rank == 1).unwrap();
    send_signal(*killed, "-KILL");
    let killed_at = Instant::now();
    let (_, code) = running.wait();
    assert!(killed_at.elapsed() < Duration::from_secs(30), "{:?}", killed_at.elapsed());
    assert_eq!(code, Some(1));
    let reason = failure(&job);
    assert!(reason.starts_with("rank 1 on host localhost was killed by signal 9"), "{reason}");
    for (_, id) in workers {
        wait_until_gone(id);
    }
    job.set("epochs", "1");
    let run = train_with_workers(&job, 2);
    assert!(run.stdout.contains("the job was finished after epoch"), "{}", run.stdout);
    assert!(!job.path("output/failure").exists());
}

#[test]
fn workers_whose_parent_was_killed_end() {
    let job = job(500);
    job.configure();
    let mut running = Running::start_with(&job, &["--workers", "2"]);
    running.read_until(|line| line.starts_with("checkpoint at step 1").then_some(())).unwrap();
    let workers = worker_ids(running.id());
    assert_eq!(workers.len(), 2);
    running.signal("-KILL");
    for (_, id) in workers {
        wait_until_gone(id);
    }
}

#[test]
fn a_job_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on_alone() {
    let mut job = job(500);
    job.configure();
    let mut running = Running::start_with(&job, &["--workers", "2"]);
    running.read_until(|line| line.starts_with("checkpoint at step 2").then_some(())).unwrap();
    running.signal("-TERM");
    let (rest, code) = running.wait();
    assert_eq!(code, Some(0), "{rest}");
    // The epoch that is not finished, from 1.
    let (_, stopped) = rest.split_once("asked to stop in epoch ").unwrap();
    let (epoch, _) = stopped.split_once('/').unwrap();
    job.set("epochs", epoch);
    let run = job.train();
    assert!(run.stdout.contains("going on from the checkpoint"), "{}", run.stdout);
    assert_eq!(losses(&job).len(), epoch.parse::<usize>().unwrap());
}

#[test]
fn a_job_may_be_asked_to_stop_while_its_workers_start() {
    let job = job(500);
    job.configure();
    let running = Running::start_with(&job, &["--workers", "2"]);
    let deadline = Instant::now() + TIMEOUT;
    while worker_ids(running.id()).is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal("-TERM");
    let (rest, code) = running.wait();
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("asked to stop"), "{rest}");
}

#[test]
fn fewer_images_than_workers_are_refused_with_what_to_set() {
    let run = run_with_workers(&job(1).with("mini_batch_size", "2"), 3);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("raise mini_batch_size to at least 3"), "{}", run.stderr);
    let psp = job(1).with("algorithm", "psp").with("mini_batch_size", "3");
    let run = run_with_workers(&psp, 2);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("raise it to at least 4, or set syncbn to True"), "{}", run.stderr);
}

/// Returns a port that no program uses, and that the system gives to nobody who asks for any.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = std::process::id() as u16 % 100 * 50 + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + offset % 5000;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Two hosts of a job.
struct TwoHosts {
    jobs: [Job; 2],
    port: u16,
}

impl TwoHosts {
    fn new(epochs: usize) -> Self {
        let jobs = [job(epochs), job(epochs)];
        for (job, name) in jobs.iter().zip(HOSTS) {
            let config = job.path("input/config");
            fs::create_dir_all(&config).unwrap();
            // As the SDK's local mode writes it: with an interface that does not exist.
            let text = json!({"current_host": name, "hosts": HOSTS,
                "network_interface_name": "eth7", "current_instance_type": "local"});
            fs::write(config.join("resourceconfig.json"), text.to_string()).unwrap();
        }
        Self { jobs, port: free_port() }
    }

    /// Starts training on a host.
    fn start(&self, host: usize, arguments: &[&str]) -> Child {
        self.start_subcommand(host, "train", arguments)
    }

    fn start_subcommand(&self, host: usize, subcommand: &str, arguments: &[&str]) -> Child {
        let job = &self.jobs[host];
        job.configure();
        let mut command = maskmaker();
        command.arg("--ml-root").arg(job.path("")).args([subcommand, "--rendezvous-port"]);
        command.arg(self.port.to_string()).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Trains on both hosts, and returns what they left.
    fn run(&self, arguments: &[&str]) -> [Run; 2] {
        self.run_subcommand("train", arguments)
    }

    /// Runs a subcommand on both hosts, the second one first, and returns what they left.
    fn run_subcommand(&self, subcommand: &str, arguments: &[&str]) -> [Run; 2] {
        let second = self.start_subcommand(1, subcommand, arguments);
        let first = self.start_subcommand(0, subcommand, arguments);
        [first, second].map(|child| Run::new(&child.wait_with_output().unwrap()))
    }

    /// Trains on both hosts, and expects success.
    fn train(&self) -> [Run; 2] {
        let runs = self.run(&[]);
        for run in &runs {
            assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        }
        runs
    }

    /// Moves every second training image of the first host away, and the others of the second.
    fn shard(&self) {
        for (host, job) in self.jobs.iter().enumerate() {
            for channel in ["train", "train_annotation"] {
                let folder = job.path("input/data").join(channel);
                for (position, name) in names(&folder).iter().enumerate() {
                    if position % 2 != host {
                        fs::remove_file(folder.join(name)).unwrap();
                    }
                }
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn doctor_sums_tensors_over_all_hosts() {
    for run in TwoHosts::new(1).run_subcommand("doctor", &["--device", "cpu"]) {
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        let line = "2 workers on 2 hosts: 127.0.0.1 (rank 0), localhost (rank 1): 8 MiB in ";
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
}

#[test]
fn two_hosts_with_the_same_data_train_as_one_and_the_first_writes_the_model() {
    let hosts = TwoHosts::new(2);
    let [first, second] = hosts.train();
    let line = "2 workers on 2 hosts: 127.0.0.1 (rank 0), localhost (rank 1)";
    assert!(first.stdout.contains(line) && second.stdout.contains(line), "{}", first.stdout);
    assert!(first.stdout.contains("on 6 images (2 steps of 3 per epoch), validating on 2"));
    assert!(!second.stdout.contains("epoch 1/2"), "{}", second.stdout);
    assert!(hosts.jobs[0].path("model/model.pt").exists());
    for folder in ["model", "checkpoints", "output/tensorboard"] {
        assert!(files(&hosts.jobs[1].path(folder)).is_empty(), "{folder}");
    }
    let alone = job(2);
    alone.train();
    for (alone, shared) in losses(&alone).iter().zip(losses(&hosts.jobs[0])) {
        assert!((alone - shared).abs() < 0.1 * alone, "{alone} and {shared}");
    }
}

#[test]
fn two_hosts_each_with_its_own_images_train_on_all_of_them() {
    let hosts = TwoHosts::new(2);
    hosts.shard();
    let [first, _] = hosts.train();
    let line =
        "host localhost (rank 1) has 3 training images of its own, of which each epoch takes";
    assert!(first.stdout.contains(line), "{}", first.stdout);
    assert!(first.stdout.contains("on 6 images (1 steps of 3 per epoch), validating on 2"));
    assert_eq!(losses(&hosts.jobs[0]).len(), 2);
    // The job is the same in a restart, whichever host has which images.
    let [first, _] = hosts.train();
    assert!(first.stdout.contains("the job was finished after epoch 2"), "{}", first.stdout);
    let alone = job(2);
    fs::create_dir(alone.path("checkpoints")).unwrap();
    for file in files(&hosts.jobs[0].path("checkpoints")) {
        fs::copy(&file, alone.path("checkpoints").join(file.file_name().unwrap())).unwrap();
    }
    let run = alone.train();
    assert!(run.stdout.contains("the job was finished after epoch 2"), "{}", run.stdout);
}

#[test]
fn an_image_whose_mask_lies_on_the_other_host_is_told_with_the_remedy() {
    let hosts = TwoHosts::new(1);
    let mask = hosts.jobs[1].first("train_annotation");
    fs::remove_file(mask).unwrap();
    let [_, second] = hosts.run(&[]);
    assert_eq!(second.code, Some(3));
    assert!(second.stderr.contains("1 image without a mask"), "{}", second.stderr);
    assert!(second.stderr.contains("set FullyReplicated for both channels"), "{}", second.stderr);
}

#[test]
fn hosts_that_share_some_images_and_not_others_are_refused_with_examples() {
    let hosts = TwoHosts::new(1);
    let name = names(&hosts.jobs[1].path("input/data/train")).remove(0);
    for (channel, extension) in [("train", "jpg"), ("train_annotation", "png")] {
        let file = Path::new(&name).with_extension(extension);
        fs::remove_file(hosts.jobs[1].path("input/data").join(channel).join(file)).unwrap();
    }
    for (run, job) in hosts.run(&[]).iter().zip(&hosts.jobs) {
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(failure(job).contains("5 images on several hosts"), "{}", failure(job));
    }
}

#[test]
fn settings_that_differ_between_hosts_are_named_on_both() {
    let mut hosts = TwoHosts::new(1);
    hosts.jobs[1].set("learning_rate", "0.5");
    for (run, job) in hosts.run(&[]).iter().zip(&hosts.jobs) {
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        let reason = failure(job);
        let line = "learning_rate is 0.5 on host localhost and 0.001 on host 127.0.0.1";
        assert!(reason.starts_with(line), "{reason}");
    }
}

#[test]
fn masks_that_mean_other_classes_on_one_host_are_refused() {
    let hosts = TwoHosts::new(1);
    let folder = hosts.jobs[0].path("input/data/label_map");
    fs::create_dir(&folder).unwrap();
    let map = json!({"map": {"0": 0, "1": 2, "2": 1, "3": 3}});
    fs::write(folder.join("train_label_map.json"), map.to_string()).unwrap();
    for (run, job) in hosts.run(&[]).iter().zip(&hosts.jobs) {
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(failure(job).contains("the label map of train is none on host localhost and"));
    }
}

#[test]
fn wrong_data_on_one_host_are_the_failure_of_both() {
    let hosts = TwoHosts::new(1);
    let mask = hosts.jobs[1].first("train_annotation");
    fs::write(&mask, b"no PNG").unwrap();
    let [first, second] = hosts.run(&[]);
    assert_eq!((first.code, second.code), (Some(3), Some(3)), "{}{}", first.stderr, second.stderr);
    let name = mask.file_name().unwrap().to_str().unwrap();
    for job in &hosts.jobs {
        let reason = failure(job);
        assert!(reason.starts_with("host localhost: ") && reason.contains(name), "{reason}");
    }
}

#[test]
fn a_host_that_never_comes_is_named_with_the_usual_reason() {
    let hosts = TwoHosts::new(1);
    for (host, said) in
        [(0, "localhost did not come within 1 s"), (1, "cannot reach host 127.0.0.1")]
    {
        let child = hosts.start(host, &["--rendezvous-timeout", "1"]);
        let run = Run::new(&child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        let reason = failure(&hosts.jobs[host]);
        assert!(reason.contains(said) && reason.contains("security group"), "{reason}");
    }
}

#[test]
fn a_host_that_is_asked_to_stop_stops_the_other_and_a_killed_host_ends_it() {
    let hosts = TwoHosts::new(500);
    let wait_for_checkpoint = || {
        let deadline = Instant::now() + TIMEOUT;
        while files(&hosts.jobs[0].path("checkpoints")).is_empty() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let [first, second] = [0, 1].map(|host| hosts.start(host, &[]));
    wait_for_checkpoint();
    send_signal(second.id(), "-TERM");
    for child in [first, second] {
        let run = Run::new(&child.wait_with_output().unwrap());
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    }

    fs::remove_dir_all(hosts.jobs[0].path("checkpoints")).unwrap();
    let [first, mut second] = [0, 1].map(|host| hosts.start(host, &[]));
    wait_for_checkpoint();
    let workers = worker_ids(second.id());
    send_signal(workers[0].1, "-KILL");
    let run = Run::new(&first.wait_with_output().unwrap());
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(second.wait().unwrap().code(), Some(1));
    for job in &hosts.jobs {
        let reason = failure(job);
        assert!(reason.starts_with("rank 1 on host localhost was killed"), "{reason}");
    }
}
