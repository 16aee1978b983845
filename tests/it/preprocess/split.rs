//! Which side an image goes to, alone and on several instances of a job.

use std::collections::{BTreeMap, BTreeSet};

use maskmaker::annotations::split::SplitConfig;
use serde_json::{Value, json};

use super::{Folders, files, object, region};

const SIZE: (u32, u32) = (8, 8);

fn add(folders: &Folders, number: i64) {
    let name = format!("frame_{number:03}.png");
    folders.noise(&name, SIZE.0, SIZE.1);
    let object = object(number, &format!("s3://b/{name}"), &[region("road", SIZE, [0, 0, 4, 4])]);
    folders.annotation(&number.to_string(), object.to_string());
}

/// The names on each side.
fn sides(folders: &Folders) -> [BTreeSet<String>; 3] {
    ["train", "validation", "test"].map(|side| {
        let images = files(&folders.output(side)).into_keys().collect::<BTreeSet<_>>();
        let masks = files(&folders.output(&format!("{side}_annotation"))).into_keys().collect();
        assert_eq!(images, masks);
        images
    })
}

#[test]
fn images_that_come_or_go_and_a_test_that_is_set_aside_move_no_other() {
    let folders = Folders::new();
    (0..30).for_each(|number| add(&folders, number));
    folders.done(&[]);
    let [train, validation, test] = sides(&folders);
    assert!(train.len() > validation.len() && !validation.is_empty() && test.is_empty());
    assert!(!folders.output("test").exists());

    (30..60).for_each(|number| add(&folders, number));
    std::fs::remove_file(folders.path("processing/input/annotations/0")).unwrap();
    folders.done(&[]);
    let [more_train, more_validation, _] = sides(&folders);
    let first = "frame_000.png".to_owned();
    let kept =
        |old: &BTreeSet<String>, new| old.iter().all(|n| *n == first || BTreeSet::contains(new, n));
    assert!(kept(&train, &more_train) && kept(&validation, &more_validation));
    assert_eq!(more_train.len() + more_validation.len(), 59);

    folders.done(&["--test-ratio", "25"]);
    let [with_test, same_validation, test] = sides(&folders);
    assert_eq!(same_validation, more_validation);
    assert!(!test.is_empty() && test.is_subset(&more_train) && with_test.is_subset(&more_train));
    assert_eq!(folders.report()["images"]["test"], json!(test.len()));

    folders.done(&["--seed", "3"]);
    assert!(sides(&folders)[1] != more_validation);
    // Without a test again: its folders do not stay.
    assert!(!folders.output("test").exists());
}

#[test]
fn a_class_that_validation_lacks_is_told_with_the_ratio_that_helps() {
    let folders = Folders::new();
    (0..30).for_each(|number| add(&folders, number));
    folders.done(&[]);
    let rule = SplitConfig { validation_percent: 20.0, test_percent: 0.0, seed: 0 };
    let train =
        sides(&folders)[0].iter().min_by_key(|key| rule.min_validation_percent(key)).cloned();
    let train = train.unwrap();
    let number: i64 = train["frame_".len()..][..3].parse().unwrap();
    let regions = [region("car", SIZE, [0, 0, 4, 4])];
    let object = object(number, &format!("s3://b/{train}"), &regions);
    folders.annotation(&number.to_string(), object.to_string());
    let stderr = folders.done(&[]).stderr;
    let lead = "class 2 (car) is in no validation image: with --train-test-split-ratio ";
    let (_, rest) = stderr.split_once(lead).unwrap_or_else(|| panic!("{stderr}"));
    let (ratio, rest) = rest.split_once(' ').unwrap();
    assert!(rest.starts_with(&format!("{train} would be there")), "{stderr}");
    assert!(stderr.contains("class 3 (árvore 树) is in no image"), "{stderr}");

    folders.done(&["--train-test-split-ratio", ratio]);
    assert!(sides(&folders)[1].contains(&train));
    let less = (ratio.parse::<u32>().unwrap() - 1).to_string();
    folders.done(&["--train-test-split-ratio", &less]);
    assert!(!sides(&folders)[1].contains(&train));

    // With nothing to validate on nobody asks for it.
    let stderr = folders.done(&["--train-test-split-ratio", "0"]).stderr;
    assert!(!stderr.contains("validation"), "{stderr}");
}

/// Images in folders, some of one name, and a fifth of them not labeled.
fn images() -> Vec<(String, Option<Value>)> {
    (0..24)
        .map(|number: u32| {
            let name = match number % 4 {
                0 => format!("left/{:02}.png", number / 4),
                1 => format!("right/{:02}.png", number / 4),
                2 => format!("été {number}.png"),
                _ => format!("deep/er/{number}.jpg"),
            };
            let label = super::LABELS[number as usize % 4];
            let regions = [region(label, (8, 8 + number), [0, 0, 4, 1 + number])];
            let object = object(number.into(), &format!("s3://b/images/{name}"), &regions);
            (name, (number % 5 != 4).then_some(object))
        })
        .collect()
}

/// One instance of `hosts`, or a run of its own.
fn instance(number: usize, hosts: usize) -> (Folders, BTreeMap<String, Vec<u8>>, String) {
    let folders = Folders::new();
    for (place, (name, object)) in images().into_iter().enumerate() {
        // In blocks, so that images of one name are on different instances.
        if place % hosts == number {
            folders.noise(&name, 8, 8 + place as u32);
        }
        if let Some(object) = object {
            folders.annotation(&format!("labels/{place}"), object.to_string());
        }
    }
    if hosts > 1 {
        let names: Vec<String> = (1..=hosts).map(|n| format!("algo-{n}")).collect();
        let config = json!({"current_host": names[number], "hosts": names});
        folders.put("config/processingjobconfig.json", "{}");
        folders.put("config/resourceconfig.json", config.to_string());
    }
    let run = folders.done(&["--test-ratio", "10", "--strict"]);
    let channels = ["train", "validation", "test"];
    let all = files(&folders.output(""));
    let all = all.into_iter().filter(|(name, _)| channels.iter().any(|c| name.starts_with(c)));
    let all = all.collect();
    (folders, all, run.stdout)
}

#[test]
fn instances_together_write_what_one_run_writes() {
    let (_one, whole, _) = instance(0, 1);
    assert!(whole.len() > 30);
    for hosts in [2, 3] {
        let mut together = BTreeMap::new();
        for number in 0..hosts {
            let (folders, part, stdout) = instance(number, hosts);
            assert!(stdout.contains("on other instances"), "{stdout}");
            let host = format!("algo-{}", number + 1);
            let report = std::fs::read(folders.output(&format!("report-{host}.json"))).unwrap();
            let report: Value = serde_json::from_slice(&report).unwrap();
            let skipped = report["skipped"].as_array().unwrap();
            assert!(
                skipped.iter().all(|left| left["reason"] == "not on this instance"),
                "{skipped:?}"
            );
            assert!(skipped.iter().all(|left| left["fault"] == false));
            let message = std::fs::read_to_string(folders.path("output/message")).unwrap();
            assert!(message.starts_with(&format!("{host}: ")), "{message}");
            for (name, bytes) in part {
                assert!(together.insert(name.clone(), bytes).is_none(), "{name} twice");
            }
        }
        assert_eq!(together.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
        assert!(together == whole);
    }
}

#[test]
fn an_instance_without_a_share_writes_empty_channels() {
    let folders = Folders::new();
    add(&folders, 1);
    let images = folders.path("processing/input/images");
    std::fs::remove_file(images.join("frame_001.png")).unwrap();
    folders.put("config/processingjobconfig.json", "{}");
    let config = json!({"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]});
    folders.put("config/resourceconfig.json", config.to_string());
    let run = folders.done(&["--strict"]);
    assert!(run.stdout.contains("left out: 1 on other instances"), "{}", run.stdout);
    assert_eq!(sides(&folders), [const { BTreeSet::new() }; 3]);
    assert_eq!(run.stderr, "");

    // An image of that name in another folder is another image; but perhaps somebody meant it.
    folders.noise("else/where/frame_001.png", SIZE.0, SIZE.1);
    let object = object(1, "s3://b/images/frame_001.png", &[]);
    folders.annotation("1", object.to_string());
    let run = folders.done(&[]);
    assert_eq!(sides(&folders), [const { BTreeSet::new() }; 3]);
    let said = "else/where/frame_001.png has the name of s3://b/images/frame_001.png";
    assert!(run.stderr.contains(said), "{}", run.stderr);
}
