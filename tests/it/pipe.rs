//! Pipe mode: jobs whose channels are FIFOs, fed by writers that are slow, break off, or never
//! come.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::ground_truth::{folders, painted};
use crate::job::{Job, Run, maskmaker, names};

const MAGIC: [u8; 4] = 0xced7_230a_u32.to_le_bytes();

const PAUSE: Duration = Duration::from_millis(50);

/// A part of a record, of kind 0 (whole), 1, 2 or 3 (first, middle, last).
fn part(kind: u32, payload: &[u8]) -> Vec<u8> {
    let word = kind << 29 | payload.len() as u32;
    let mut bytes = [&MAGIC, &word.to_le_bytes()[..], payload].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn record(payload: &[u8]) -> Vec<u8> {
    part(0, payload)
}

/// What a writer does.
enum Act {
    /// Makes the FIFO, after a while.
    Make,
    /// Opens it as soon as there is a reader, and says so.
    Open,
    Write(Vec<u8>),
    Pause,
    /// Keeps it open until the job has ended.
    Hang,
}

/// A writer at work; it ends with its script, or with the job.
struct Feeder {
    over: Arc<AtomicBool>,
    is_open: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    fn start(fifo: PathBuf, script: Vec<Act>) -> Self {
        let (over, is_open) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let (ended, opened) = (over.clone(), is_open.clone());
        let thread = thread::spawn(move || {
            let mut writer = None;
            for act in script {
                match act {
                    Act::Make => {
                        thread::sleep(PAUSE * 6);
                        make(&fifo);
                    }
                    Act::Open => {
                        writer = open(&fifo, &ended);
                        opened.store(true, Ordering::SeqCst);
                    }
                    Act::Write(bytes) => {
                        if let Some(writer) = &mut writer {
                            write(writer, &bytes, &ended);
                        }
                    }
                    Act::Pause => thread::sleep(PAUSE),
                    Act::Hang => {
                        while !ended.load(Ordering::SeqCst) {
                            thread::sleep(PAUSE);
                        }
                    }
                }
            }
        });
        Self { over, is_open, thread: Some(thread) }
    }

    /// One that writes `bytes` into a FIFO that is there from the start.
    fn of(fifo: PathBuf, bytes: Vec<u8>) -> Self {
        make(&fifo);
        Self::start(fifo, vec![Act::Open, Act::Write(bytes)])
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the writer failed");
    }
}

fn make(fifo: &Path) {
    fs::create_dir_all(fifo.parent().unwrap()).unwrap();
    let _ = fs::remove_file(fifo);
    assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
}

/// Without blocking, so that a job that never reads cannot hang the test.
fn open(fifo: &Path, ended: &AtomicBool) -> Option<File> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    while !ended.load(Ordering::SeqCst) {
        if let Ok(file) = options.open(fifo) {
            return Some(file);
        }
        thread::sleep(PAUSE / 10);
    }
    None
}

fn write(writer: &mut File, mut bytes: &[u8], ended: &AtomicBool) {
    while !bytes.is_empty() && !ended.load(Ordering::SeqCst) {
        match writer.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(full) if full.kind() == ErrorKind::WouldBlock => thread::sleep(PAUSE / 10),
            // The job has seen enough.
            Err(closed) if closed.kind() == ErrorKind::BrokenPipe => return,
            Err(cause) => panic!("{cause}"),
        }
    }
}

/// Images and annotations of a split in turn, in the order of their names.
fn objects(job: &Job, split: &str) -> Vec<Vec<u8>> {
    let folder = |channel: &str| job.path("input/data").join(channel);
    let (images, masks) = (folder(split), folder(&format!("{split}_annotation")));
    let pairs = names(&images).into_iter().zip(names(&masks));
    pairs
        .flat_map(|(i, m)| [fs::read(images.join(i)).unwrap(), fs::read(masks.join(m)).unwrap()])
        .collect()
}

fn records(objects: &[Vec<u8>]) -> Vec<u8> {
    objects.iter().flat_map(|object| record(object)).collect()
}

/// The job of [`Job::new`] with streams for channels.
fn streams() -> Job {
    let job = Job::without_data();
    let channel = r#"{"TrainingInputMode": "Pipe", "RecordWrapperType": "RecordIO",
        "S3DistributionType": "FullyReplicated", "ContentType": "application/x-recordio"}"#;
    fs::create_dir_all(job.path("input/config")).unwrap();
    fs::create_dir_all(job.path("input/data")).unwrap();
    let config = format!(r#"{{"train": {channel}, "validation": {channel}}}"#);
    fs::write(job.path("input/config/inputdataconfig.json"), config).unwrap();
    job
}

fn fifo(job: &Job, split: &str) -> PathBuf {
    job.path("input/data").join(format!("{split}_0"))
}

/// The program with a temporary folder of the job's own.
fn program(job: &Job, timeout: &str) -> Command {
    let mut command = maskmaker();
    fs::create_dir_all(job.path("tmp")).unwrap();
    command.env("TMPDIR", job.path("tmp")).env("MASKMAKER_PIPE_TIMEOUT", timeout);
    command
}

fn train(job: &Job, timeout: &str) -> Run {
    let run = job.run_with(program(job, timeout), &["train"]);
    assert_eq!(names(&job.path("tmp")), [""; 0], "what was kept of the streams is removed");
    run
}

/// Feeds both splits of `data` and expects a model.
fn trained(job: &Job, data: &Job) -> (Vec<u8>, Run) {
    let _train = Feeder::of(fifo(job, "train"), records(&objects(data, "train")));
    let _validation = Feeder::of(fifo(job, "validation"), records(&objects(data, "validation")));
    let run = train(job, "60");
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    (model(job), run)
}

fn model(job: &Job) -> Vec<u8> {
    fs::read(job.path("model/model.safetensors")).unwrap()
}

#[test]
fn streams_train_to_the_weights_of_folders_whatever_the_writer_is_like() {
    let folders = Job::new().with("epochs", "2");
    folders.train();
    let job = streams().with("epochs", "2");

    let objects_of_train = objects(&folders, "train");
    // The first image gets a comment with the magic number at a multiple of 4, so that its record
    // is split: begin (2 bytes), marker (2), length (2), text.
    let image = &objects_of_train[0];
    let comment = [&[0xff, 0xfe, 0, 12, b'a', b'b'][..], &MAGIC, b"text"].concat();
    let commented = [&image[..2], &comment, &image[2..]].concat();
    assert_eq!(&commented[8..12], &MAGIC);
    let mut script = vec![Act::Make, Act::Pause, Act::Open, Act::Pause];
    let split = [part(1, &commented[..8]), part(3, &commented[12..])].concat();
    for piece in split.chunks(split.len() / 7) {
        script.extend([Act::Write(piece.to_vec()), Act::Pause]);
    }
    for object in &objects_of_train[1..] {
        script.push(Act::Write(record(object)));
    }
    let train_writer = Feeder::start(fifo(&job, "train"), script);
    let bytes = records(&objects(&folders, "validation"));
    let validation_writer = Feeder::of(fifo(&job, "validation"), bytes);
    // The second epoch needs nothing of its stream, whose writer waits for a reader for ever.
    make(&job.path("input/data/train_1"));
    let run = train(&job, "60");
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("train: 6 images and annotations ("), "{}", run.stdout);
    assert!(model(&job) == model(&folders), "the weights are the same bit for bit");
    drop((train_writer, validation_writer));
}

#[test]
fn streams_that_are_not_what_they_should_be_fail_with_the_record_and_the_fix() {
    let data = Job::new();
    let all = objects(&data, "train");
    let good = records(&all);
    let (first, second) = (record(&all[0]), record(&all[1]));
    let swapped: Vec<u8> =
        all.chunks(2).flat_map(|pair| [record(&pair[1]), record(&pair[0])].concat()).collect();
    let unpaired = [&good[..], &record(&all[0]), &record(&all[2])].concat();
    let uri = b"s3://bucket/image.jpg";
    for (bytes, parts) in [
        (
            all.concat(),
            vec!["record 1 ", "(a JPEG) and not with", "RecordWrapperType is not RecordIO"],
        ),
        (
            good[..good.len() - 9].to_vec(),
            vec!["record 12 ", "the stream ends after", "the writer ended early"],
        ),
        ([&first[..], &second[..5]].concat(), vec!["record 2 ", "ends after 5 of the 8 bytes"]),
        (
            [&good[..], &first].concat(),
            vec!["ends after record 13, an image without its annotation"],
        ),
        (unpaired, vec!["record 14 is a JPEG where an annotation was expected", "AttributeNames"]),
        (swapped, vec!["record 2 is a JPEG where", "AttributeNames must name the image and then"]),
        (
            [record(uri), second].concat(),
            vec!["record 1 is not an image but the text", "end in -ref"],
        ),
        (part(3, b"abcd"), vec!["record 1 ", "a part of kind 3 where a record begins"]),
        (Vec::new(), vec!["the stream holds no records"]),
    ] {
        let job = streams();
        let _train = Feeder::of(fifo(&job, "train"), bytes);
        let run = train(&job, "60");
        let reason = fs::read_to_string(job.path("output/failure")).unwrap_or_default();
        assert_eq!(run.code, Some(3), "{parts:?}: {}{}", run.stdout, run.stderr);
        assert!(reason.starts_with("channel train: ") && reason.contains("train_0: "), "{reason}");
        for part in parts {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }
}

#[test]
fn a_stream_is_audited_like_a_folder() {
    let data = Job::new();
    let mut all = objects(&data, "train");
    all[4] = b"\xff\xd8\xff no image".to_vec();
    let job = streams();
    let _train = Feeder::of(fifo(&job, "train"), records(&all));
    let _validation = Feeder::of(fifo(&job, "validation"), records(&objects(&data, "validation")));
    let run = train(&job, "60");
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr.contains("channel train, train_0: 1 file cannot be read: ")
            && run.stderr.contains("record-00000005")
    );
}

#[test]
fn metadata_in_the_stream_tell_the_classes_by_color() {
    let ids = folders();
    ids.train();
    let painted = painted();
    let job = streams();
    // What AttributeNames ["source-ref", "labels-ref", "labels-ref-metadata"] bring.
    let stream = |split: &str| -> Vec<u8> {
        let folder = painted.path("input/data").join(split);
        let text = fs::read_to_string(folder.join("output.manifest")).unwrap();
        let lines =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let object =
            |name: &serde_json::Value| fs::read(folder.join(name.as_str().unwrap())).unwrap();
        let records = lines.flat_map(|line| {
            let metadata = line["labels-ref-metadata"].to_string();
            let objects = [object(&line["source-ref"]), object(&line["labels-ref"])];
            [record(&objects[0]), record(&objects[1]), record(metadata.as_bytes())]
        });
        records.collect::<Vec<_>>().concat()
    };
    let validation = stream("validation");
    {
        let _train = Feeder::of(fifo(&job, "train"), stream("train"));
        let _validation = Feeder::of(fifo(&job, "validation"), validation.clone());
        let run = train(&job, "60");
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("0 background, 1 bush, 2 car, 3 road"), "{}", run.stdout);
        assert!(model(&job) == model(&ids), "the weights are the same bit for bit");
    }

    let first = objects(&folders(), "train");
    let without = [record(&first[0]), record(&first[1]), stream("train")].concat();
    let broken =
        [stream("train"), record(&first[0]), record(&first[1]), record(b"{\"a\": ")].concat();
    for (bytes, said) in [
        (without, "train: 1 line without an internal-color-map, while 6 have one"),
        (broken, "record 21 begins like JSON, but cannot be read: EOF"),
    ] {
        let job = streams();
        let _train = Feeder::of(fifo(&job, "train"), bytes);
        let _validation = Feeder::of(fifo(&job, "validation"), validation.clone());
        let run = train(&job, "60");
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
}

#[test]
fn a_writer_that_never_comes_or_hangs_is_waited_for_no_longer_than_the_limit() {
    let data = Job::new();
    let begun = records(&objects(&data, "train")[..1]);
    let bytes = begun.len();
    let after = format!("nothing was written to it after {bytes} bytes for 1 s");
    for (script, said) in [
        (vec![], "it did not exist for 1 s"),
        (vec![Act::Make], "nothing was written to it for 1 s"),
        (vec![Act::Make, Act::Open, Act::Hang], "nothing was written to it for 1 s"),
        (vec![Act::Make, Act::Open, Act::Write(begun), Act::Hang], after.as_str()),
    ] {
        let job = streams();
        let _writer = Feeder::start(fifo(&job, "train"), script);
        let run = train(&job, "1");
        assert_eq!(run.code, Some(3), "{}", run.stderr);
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        assert!(
            run.stderr.contains("set MASKMAKER_PIPE_TIMEOUT to more seconds"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_job_that_is_asked_to_stop_while_it_waits_ends_at_once_and_without_a_failure() {
    let data = Job::new();
    let job = streams();
    job.configure();
    let begun = records(&objects(&data, "train")[..3]);
    make(&fifo(&job, "train"));
    let writer = Feeder::start(fifo(&job, "train"), vec![Act::Open, Act::Write(begun), Act::Hang]);
    let mut command = program(&job, "600");
    command.arg("--ml-root").arg(job.path("")).arg("train");
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !writer.is_open.load(Ordering::SeqCst) {
        thread::sleep(PAUSE);
    }
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let run = Run::new(&process.wait_with_output().unwrap());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("asked to stop before the first step"), "{}", run.stdout);
    assert!(!job.path("output/failure").exists());
    assert_eq!(names(&job.path("tmp")), [""; 0]);
}

#[test]
fn a_job_goes_on_from_a_checkpoint_with_the_same_stream_and_refuses_another_order() {
    let data = Job::new();
    let folders = Job::new();
    folders.train();
    let folders = folders.with("epochs", "2");
    folders.train();
    let job = streams();
    trained(&job, &data);
    let job = job.with("epochs", "2");
    let (weights, run) = trained(&job, &data);
    assert!(run.stdout.contains("going on from the checkpoint"), "{}", run.stdout);
    assert!(weights == model(&folders));

    let mut shuffled = objects(&data, "train");
    shuffled.rotate_left(2);
    let _train = Feeder::of(fifo(&job, "train"), records(&shuffled));
    let _validation = Feeder::of(fifo(&job, "validation"), records(&objects(&data, "validation")));
    let run = train(&job, "60");
    assert_eq!(run.code, Some(3), "{}", run.stdout);
    let said = "training has the same 6 images and masks in another order";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}
