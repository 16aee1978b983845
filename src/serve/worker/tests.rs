use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use image::{GrayImage, RgbImage};

use super::job::{CompletedJob, Responder};
use super::*;
use crate::inference::{ModelInfo, OutputDetail, SegmentOptions, Segmentation};
use crate::serve::admission::limiter::Limiter;
use crate::serve::registry::model::{ExpectedImage, LoadedModel};

const FOR_EVER: Duration = Duration::from_secs(20);

/// Reports the widths of each batch, then waits until the test lets it go on. Images of height 13
/// panic in a batch of several.
struct StubEngine {
    info: ModelInfo,
    begun: Sender<Vec<u32>>,
    go: Receiver<()>,
    alive: Arc<AtomicBool>,
}

impl Segment for StubEngine {
    fn segment(&mut self, images: &[&RgbImage], _: &SegmentOptions) -> Result<Vec<Segmentation>> {
        self.begun.send(images.iter().map(|image| image.width()).collect()).unwrap();
        let _ = self.go.recv_timeout(FOR_EVER);
        let not_together = images.iter().any(|image| image.height() == 13);
        assert!(!not_together || images.len() == 1, "not together");
        let answer = |image: &&RgbImage| Segmentation {
            ids: GrayImage::from_pixel(
                image.width(),
                image.height(),
                image::Luma([image.get_pixel(0, 0)[0]]),
            ),
            confidence: Vec::new(),
            pixel_confidence: Vec::new(),
            probabilities: Vec::new(),
            pixel_entropy: Vec::new(),
        };
        Ok(images.iter().map(answer).collect())
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl Drop for StubEngine {
    fn drop(&mut self) {
        self.alive.store(false, Ordering::SeqCst);
    }
}

/// The number of a job, with the class of its first pixel and the size of its batch, or the error.
type JobReport = (u32, Result<(u8, usize), String>);

struct StubResponder {
    number: u32,
    left: Arc<AtomicBool>,
    tell: Sender<JobReport>,
}

impl Responder for StubResponder {
    fn is_disconnected(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    fn respond(self: Box<Self>, computed: CompletedJob) {
        assert_ne!(self.number, 99, "a client may panic");
        let outcome =
            computed.outcome.map(|answer| (answer.ids.get_pixel(0, 0)[0], computed.batch_size));
        self.tell.send((self.number, outcome.map_err(|failure| format!("{failure:?}")))).unwrap();
    }
}

struct TestBench {
    compute_thread: ComputeThread,
    limiter: Arc<Limiter>,
    tell: Sender<JobReport>,
    told: Receiver<JobReport>,
}

struct StubModel {
    model: Arc<Model>,
    begun: Receiver<Vec<u32>>,
    go: Sender<()>,
    alive: Arc<AtomicBool>,
}

fn settings() -> ServeSettings {
    ServeSettings { warm_up_side: 0, max_batch: 4, ..ServeSettings::default() }
}

fn bench(settings: &ServeSettings) -> TestBench {
    let (tell, told) = channel();
    TestBench {
        compute_thread: ComputeThread::start(settings).unwrap(),
        limiter: Limiter::new(settings),
        tell,
        told,
    }
}

impl TestBench {
    fn model(&self) -> StubModel {
        let (begin, begun) = channel();
        let (go, wait) = channel();
        let info = ModelInfo {
            class_names: Vec::new(),
            colors: Vec::new(),
            precision: "fp32",
            device: "cpu".into(),
            max_side: 2048,
            tile_side: 1024,
            tile_overlap: 128,
        };
        let alive = Arc::new(AtomicBool::new(true));
        let engine = StubEngine { info, begun: begin, go: wait, alive: Arc::clone(&alive) };
        let loaded = LoadedModel { engine: Box::new(engine), memory_bytes: 1 };
        let model = Model::new("m", "/m", &loaded);
        self.compute_thread.add_model(&model, loaded.engine).unwrap();
        StubModel { model, begun, go, alive }
    }

    /// Sends a job for an image of one color, and returns the flag by which its client leaves.
    fn send(
        &self,
        model: &StubModel,
        number: u32,
        size: (u32, u32),
        detail: OutputDetail,
    ) -> Arc<AtomicBool> {
        let left = Arc::new(AtomicBool::new(false));
        let client = StubResponder { number, left: Arc::clone(&left), tell: self.tell.clone() };
        self.compute_thread.send(Job {
            model: Arc::clone(&model.model),
            image: RgbImage::from_pixel(size.0, size.1, image::Rgb([number as u8; 3])),
            options: SegmentOptions { detail, ..SegmentOptions::default() },
            work_pixels: 100,
            permit: self.limiter.acquire(Duration::ZERO).unwrap(),
            sent_at: Instant::now(),
            responder: Box::new(client),
        });
        left
    }

    fn next(&self) -> JobReport {
        self.told.recv_timeout(FOR_EVER).unwrap()
    }
}

impl StubModel {
    fn next_batch(&self) -> Vec<u32> {
        self.begun.recv_timeout(FOR_EVER).unwrap()
    }
}

const PLAIN: OutputDetail = OutputDetail::Classes;

#[test]
fn jobs_of_one_kind_are_computed_together_up_to_the_limit() {
    let bench = bench(&settings());
    let model = bench.model();
    bench.send(&model, 0, (9, 9), PLAIN);
    assert_eq!(model.next_batch(), [9]);
    for number in 1..6 {
        bench.send(&model, number, (10, 5), PLAIN);
        bench.send(&model, 10 + number, (10, 6), PLAIN);
    }
    bench.send(&model, 20, (10, 5), OutputDetail::Confidence);
    drop(model.go);
    let mut reports: Vec<JobReport> = (0..12).map(|_| bench.next()).collect();
    reports.sort_by_key(|told| told.0);
    // Each answer went to its own client, and the sizes show that the jobs came in these batches.
    assert!(reports.iter().all(|(number, outcome)| outcome.as_ref().unwrap().0 == *number as u8));
    let batches: Vec<usize> = reports.iter().map(|told| told.1.as_ref().unwrap().1).collect();
    assert_eq!(batches, [1, 4, 4, 4, 4, 1, 4, 4, 4, 4, 1, 1]);
    assert_eq!(
        model.begun.iter().take(5).map(|batch| batch.len()).collect::<Vec<_>>(),
        [4, 4, 1, 1, 1]
    );
}

#[test]
fn a_batch_stays_within_its_time_but_one_job_always_goes() {
    let bench = bench(&ServeSettings { batch_time: Duration::from_secs(3), ..settings() });
    let model = bench.model();
    model.model.time_estimate.record_warm_up(100, Duration::from_secs(1));
    let slow = bench.model();
    slow.model.time_estimate.record_warm_up(100, Duration::from_secs(10));
    bench.send(&model, 0, (9, 9), PLAIN);
    model.next_batch();
    // One slow job alone takes longer than `batch_time`, and is computed all the same.
    for number in 1..5 {
        bench.send(&slow, number, (10, 5), PLAIN);
    }
    model.go.send(()).unwrap();
    assert_eq!(slow.next_batch(), [10]);
    drop(slow.go);
}

#[test]
fn a_job_whose_client_left_is_never_begun() {
    let bench = bench(&settings());
    let model = bench.model();
    bench.send(&model, 0, (9, 9), PLAIN);
    assert_eq!(model.next_batch(), [9]);
    let leaves = bench.send(&model, 1, (10, 5), PLAIN);
    bench.send(&model, 2, (10, 5), PLAIN);
    leaves.store(true, Ordering::SeqCst);
    drop(model.go);
    assert_eq!(bench.next().0, 0);
    assert_eq!(bench.next(), (2, Ok((2, 1))));
}

#[test]
fn images_that_fail_together_are_tried_alone() {
    let bench = bench(&settings());
    let model = bench.model();
    bench.send(&model, 0, (9, 9), PLAIN);
    model.next_batch();
    for number in 1..4 {
        bench.send(&model, number, (10, 13), PLAIN);
    }
    drop(model.go);
    assert_eq!(bench.next().0, 0);
    for number in 1..4_u32 {
        assert_eq!(bench.next(), (number, Ok((number as u8, 1))));
    }
}

#[test]
fn a_client_that_panics_takes_nobody_along() {
    let bench = bench(&settings());
    let model = bench.model();
    drop(model.go.clone());
    let StubModel { go, .. } = &model;
    bench.send(&model, 99, (9, 9), PLAIN);
    go.send(()).unwrap();
    bench.send(&model, 1, (9, 9), PLAIN);
    go.send(()).unwrap();
    assert_eq!(bench.next().0, 1);
    assert!(bench.compute_thread.is_alive());
}

#[test]
fn models_take_turns() {
    let bench = bench(&ServeSettings { max_batch: 1, ..settings() });
    let (one, two) = (bench.model(), bench.model());
    bench.send(&one, 0, (9, 9), PLAIN);
    one.next_batch();
    for number in 1..4 {
        bench.send(&one, number, (9, 9), PLAIN);
    }
    bench.send(&two, 10, (9, 9), PLAIN);
    bench.send(&two, 11, (9, 9), PLAIN);
    drop((one.go, two.go));
    let order: Vec<u32> = (0..6).map(|_| bench.next().0).collect();
    assert_eq!(order, [0, 10, 1, 11, 2, 3]);
}

#[test]
fn the_model_waits_for_images_that_are_on_their_way_and_not_for_ever() {
    let wait = Duration::from_secs(10);
    let bench = bench(&ServeSettings { batch_wait: wait, batch_time: 10 * wait, ..settings() });
    let model = bench.model();
    model.model.time_estimate.record_warm_up(100, wait);
    let on_their_way: Vec<ExpectedImage> = (0..3).map(|_| model.model.expect_image()).collect();
    for (number, arriving) in on_their_way.into_iter().enumerate() {
        drop(arriving);
        bench.send(&model, number as u32, (9, 9), PLAIN);
    }
    // When the last image arrives no other is expected, so the batch does not wait for the rest of
    // its 2.5 s.
    let begun = model.next_batch();
    assert!(begun.len() <= 3, "{begun:?}");
    drop(model.go);
    let reports: Vec<JobReport> = (0..3).map(|_| bench.next()).collect();
    assert!(reports.iter().all(|told| told.1.is_ok()));
}

#[test]
fn letting_go_of_a_model_comes_after_its_jobs_and_later_ones_are_told() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bench = bench(&settings());
    let (model, other) = (bench.model(), bench.model());
    bench.send(&model, 0, (9, 9), PLAIN);
    model.next_batch();
    bench.send(&model, 1, (9, 9), PLAIN);
    let mut retiring = std::pin::pin!(bench.compute_thread.remove_model(model.model.id));
    let once = std::future::poll_fn(|cx| std::task::Poll::Ready(retiring.as_mut().poll(cx)));
    assert!(runtime.block_on(once).is_pending());
    bench.send(&other, 2, (9, 9), PLAIN);
    drop((model.go, other.go));
    runtime.block_on(retiring);
    assert!(!model.alive.load(Ordering::SeqCst) && other.alive.load(Ordering::SeqCst));
    let reports: Vec<JobReport> = (0..3).map(|_| bench.next()).collect();
    assert!(reports.iter().all(|told| told.1.is_ok()), "{reports:?}");
    let late =
        StubModel { go: channel().0, begun: channel().1, alive: model.alive, model: model.model };
    bench.send(&late, 3, (9, 9), PLAIN);
    assert_eq!(bench.next(), (3, Err("Unloaded".into())));
}

#[test]
fn the_thread_ends_with_its_last_handle_after_what_was_sent() {
    let bench = bench(&settings());
    let model = bench.model();
    bench.send(&model, 0, (9, 9), PLAIN);
    drop(model.go);
    let TestBench { compute_thread: compute, told, .. } = bench;
    let mut end = compute.ended_receiver();
    drop(compute);
    assert_eq!(told.recv_timeout(FOR_EVER).unwrap().0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ended = runtime.block_on(async {
        tokio::time::timeout(FOR_EVER, end.wait_for(|ended| *ended)).await.is_ok()
    });
    assert!(ended && !model.alive.load(Ordering::SeqCst));
}

/// Requires that threads may share the handle of the compute thread, and models behind a lock.
#[test]
fn what_requests_share_can_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<ComputeThread>();
    shared::<Mutex<Model>>();
}
