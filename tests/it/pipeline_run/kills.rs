//! Runs and jobs that are killed, and go on.

use super::*;

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_model() {
    let kills = std::env::var("MASKMAKER_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u32 = kills.unwrap_or(FEW_KILLS);
    let mut pipeline = Pipeline::new();
    // Enough work that a run does not end before it is killed.
    pipeline.set("Epochs", &(4 + kills).to_string());
    // A checkpoint of every step, so that each attempt gets further.
    pipeline.step("Train")["Arguments"]["HyperParameters"]["checkpoint_interval"] = json!("0");
    let begin = Instant::now();
    let whole = Run::new(&pipeline.command("whole").output().unwrap());
    let duration = begin.elapsed();
    assert_eq!(whole.code, Some(0), "{}", whole.stderr);

    let mut executions = Vec::new();
    let mut killed = 0;
    let mut random = u64::from(std::process::id());
    for _ in 0..kills {
        let mut run = start(&mut pipeline.command("root"));
        // All runs together have as much time as the whole one, so the last ones still have work.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (random >> 33) as f64 / f64::from(1u32 << 31);
        std::thread::sleep(duration.mul_f64(2.0 * share / f64::from(kills)));
        let has_ended = run.try_wait().unwrap().is_some();
        run.kill().unwrap();
        let output = run.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        executions.extend(stdout.split(' ').nth(1).map(str::to_owned));
        if has_ended {
            break;
        }
        killed += 1;
    }
    let has_version = pipeline.path("root/registry/maskmaker/1").exists();
    if !has_version {
        let ended = pipeline.run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        executions.push(Pipeline::execution(&ended));
    }
    assert!(2 * killed >= kills, "only {killed} of {kills} runs were killed before they ended");
    let execution = executions[0].clone();
    assert!(executions.iter().all(|other| *other == execution), "{executions:?}");
    assert!(pipeline.weights("whole", 1) == pipeline.weights("root", 1), "other weights");
    assert!(!pipeline.path("root/registry/maskmaker/2").exists(), "registered once");

    // Finished steps are not repeated, whatever comes after them.
    let attempts = pipeline.attempts(&execution, "Preprocess");
    let again = pipeline.run();
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.contains("Train: cached"), "{}", again.stderr);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), attempts);
}

#[test]
fn a_run_that_was_killed_while_outputs_moved_does_not_repeat_the_job() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "1");
    let run = pipeline.run();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let execution = Pipeline::execution(&run);
    let weights = pipeline.weights("root", 1);
    // As if the run had been killed after half of the files had moved, before anything was recorded.
    fs::remove_dir_all(pipeline.path("root/cache")).unwrap();
    let folder = pipeline.path("root/executions").join(&execution);
    let masks = "Preprocess/train/masks";
    let place = pipeline.path("root/s3/amzn-s3-demo-bucket/maskmaker").join(&execution).join(masks);
    let output = folder.join("Preprocess/ml/processing/output/train_annotation");
    fs::create_dir_all(&output).unwrap();
    let mask = fs::read_dir(&place).unwrap().next().unwrap().unwrap();
    fs::rename(mask.path(), output.join(mask.file_name())).unwrap();
    let state = folder.join("execution.json");
    let text = fs::read_to_string(&state).unwrap().replace("\"Succeeded\"", "\"Executing\"");
    fs::write(&state, text).unwrap();

    let again = pipeline.run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(Pipeline::execution(&again), execution);
    for step in ["Preprocess", "Train", "Evaluate"] {
        assert_eq!(pipeline.attempts(&execution, step), 1, "{step}");
    }
    assert!(place.join(mask.file_name()).is_file());
    assert_eq!(pipeline.weights("root", 1), weights);
    assert!(!pipeline.path("root/registry/maskmaker/2").exists(), "registered once");

    // What somebody changed meanwhile is not taken for the job's result: the job is run again.
    let right = fs::read(place.join(mask.file_name())).unwrap();
    fs::write(place.join(mask.file_name()), "changed").unwrap();
    let text = fs::read_to_string(&state).unwrap().replace("\"Succeeded\"", "\"Executing\"");
    fs::write(&state, text).unwrap();
    let again = pipeline.run();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(Pipeline::execution(&again), execution);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), 2);
    assert_eq!(pipeline.attempts(&execution, "Train"), 1, "the data are the same again");
    assert!(fs::read(place.join(mask.file_name())).unwrap() == right);
}

#[test]
fn finished_steps_of_a_killed_run_are_kept_and_its_job_is_gone() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "500");
    let mut run = start(&mut pipeline.command("root"));
    wait_for_training(&pipeline);
    let executions = pipeline.path("root/executions");
    let execution = fs::read_dir(&executions).unwrap().next().unwrap().unwrap().file_name();
    // The folder is in use.
    let other = pipeline.run();
    assert_eq!(other.code, Some(3));
    assert!(other.stderr.contains(&format!("process {}", run.id())), "{}", other.stderr);
    run.kill().unwrap();
    run.wait().unwrap();
    let ml = executions.join(&execution).join("Train/ml").canonicalize().unwrap();
    let begin = Instant::now();
    // 500 epochs would take longer.
    wait_for("the end of the job", || find_job(&ml).is_none());
    assert!(begin.elapsed() < Duration::from_secs(10), "the job outlived its run");

    pipeline.set("Epochs", "1");
    let ended = pipeline.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("Preprocess: cached"), "{}", ended.stderr);
}

#[test]
fn a_job_that_is_killed_is_named_with_its_log_and_the_next_run_goes_on() {
    let mut pipeline = Pipeline::new();
    pipeline.set("Epochs", "500");
    // By the system, for want of memory.
    let run = start(&mut pipeline.command("root"));
    send_signal("-KILL", wait_for_training(&pipeline));
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: step Train: it was ended by signal 9 (its log: "), "{stderr}");
    // By somebody who asks it to stop: training ends well then, but not as the pipeline meant.
    let run = start(&mut pipeline.command("root"));
    send_signal("-TERM", wait_for_training(&pipeline));
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("it was asked to stop, by something else"), "{stderr}");
    // With the whole run, which passes the signal on.
    let run = start(&mut pipeline.command("root"));
    wait_for_training(&pipeline);
    send_signal("-TERM", run.id());
    let output = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the run was stopped; the same command goes on"), "{stderr}");
    let executions: Vec<_> = fs::read_dir(pipeline.path("root/executions")).unwrap().collect();
    assert_eq!(executions.len(), 1, "one execution all the while");
    let execution = executions[0].as_ref().unwrap().file_name().into_string().unwrap();
    assert_eq!(pipeline.attempts(&execution, "Train"), 3);
    assert_eq!(pipeline.attempts(&execution, "Preprocess"), 1);
}

/// The process that has this folder as its root.
fn find_job(ml_root: &Path) -> Option<u32> {
    let variable = format!("MASKMAKER_ML_ROOT={}", ml_root.display());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes()) {
            return entry.file_name().to_str()?.parse().ok();
        }
    }
    None
}

/// Waits until the training job of the only execution is at work, and returns its process.
fn wait_for_training(pipeline: &Pipeline) -> u32 {
    let executions = pipeline.path("root/executions");
    let mut job = None;
    wait_for("the training job", || {
        let Ok(mut entries) = fs::read_dir(&executions) else { return false };
        let Some(Ok(entry)) = entries.next() else { return false };
        let events = entry.path().join("Train/ml/output/tensorboard");
        let has_begun = fs::read_dir(&events).is_ok_and(|mut files| files.next().is_some());
        let ml = entry.path().join("Train/ml").canonicalize();
        job = ml.ok().filter(|_| has_begun).and_then(|ml| find_job(&ml));
        job.is_some()
    });
    job.unwrap()
}

fn send_signal(signal: &str, process: u32) {
    let sent = Command::new("kill").args([signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}
