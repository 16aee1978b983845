use super::*;
use crate::aws::{About, Sink};

/// A store in memory that counts what is asked of it.
#[derive(Debug, Default)]
struct Memory {
    asked: Mutex<Vec<String>>,
}

impl Store for Memory {
    /// The content of an object is its name, 100 times; names tell what goes wrong.
    fn get(&self, get: &Get<'_>, sink: &mut dyn Sink) -> Result<About, Failure> {
        let name = get.uri.name();
        self.asked.lock().unwrap().push(format!("{name} {}", get.etag.unwrap_or("-")));
        match name.split_once('-').map(|(kind, _)| kind) {
            Some("missing") => Err(Failure::object(format!("{name} is missing"), "look")),
            Some("denied") => Err(Failure::object(format!("{name} is denied"), "ask")),
            Some("down") => Err(Failure::everything("it is down", "wait")),
            Some("stop") => Err(Failure::stopped()),
            _ => {
                let bytes = name.repeat(100).into_bytes();
                sink.write_all(&bytes).unwrap();
                Ok(About { bytes: bytes.len() as u64, etag: Some(format!("etag of {name}")) })
            }
        }
    }

    fn list(&self, _: &S3Uri) -> Result<Vec<String>, Failure> {
        unreachable!("manifests name objects")
    }
}

fn objects(limit: Option<u64>, reserve: u64) -> (Arc<Memory>, Arc<Objects>) {
    let memory = Arc::new(Memory::default());
    let store = memory.clone();
    let connect = Arc::new(move || Ok(store.clone() as Arc<dyn Store>));
    (memory, Objects::new(connect, Room { limit, reserve }))
}

fn add(objects: &Arc<Objects>, names: &[&str]) -> Vec<Object> {
    let uri = |name: &&str| format!("s3://bucket/{name}").parse().unwrap();
    let manifest = Arc::from("train.manifest");
    names.iter().zip(1..).map(|(name, line)| objects.add(uri(name), &manifest, line)).collect()
}

fn fetch(objects: &Objects, folder: &tempfile::TempDir) -> Result<()> {
    objects.fetch(&folder.path().join("objects"), || ())
}

fn size(folder: &tempfile::TempDir) -> u64 {
    let files = fs::read_dir(folder.path().join("objects")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn each_object_is_fetched_once_whatever_lines_name_it_and_then_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, objects) = objects(None, 0);
    let names = ["a", "b", "a", "c"];
    let all = add(&objects, &names);
    assert!(memory.asked.lock().unwrap().is_empty(), "adding is not reading");
    fetch(&objects, &folder).unwrap();
    for _ in 0..3 {
        for (object, name) in all.iter().zip(names) {
            assert_eq!(object.read().unwrap(), name.repeat(100).into_bytes());
        }
    }
    let mut asked = memory.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["a -", "b -", "c -"]);
    assert_eq!(
        (all[2].to_string().as_str(), &all[0]),
        ("train.manifest line 1: s3://bucket/a", &all[2])
    );
    assert_eq!(size(&folder), 300);
}

#[test]
fn what_has_no_room_is_fetched_each_time_and_must_be_the_same_content() {
    let names: Vec<String> = (0..40).map(|n| format!("name{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (limit, reserve, kept) in [(Some(6000), 0, 6000), (Some(0), 0, 0), (None, u64::MAX, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (memory, objects) = objects(limit, reserve);
        let all = add(&objects, &names);
        fetch(&objects, &folder).unwrap();
        for round in 0..2 {
            for (object, name) in all.iter().zip(&names) {
                assert_eq!(object.read().unwrap(), name.repeat(100).into_bytes());
            }
            assert_eq!(size(&folder), kept, "full after round {round}, and no fuller");
        }
        let asked = memory.asked.lock().unwrap();
        let again = asked.iter().filter(|line| line.ends_with("39 etag of name39")).count();
        let last_is_kept = objects.entry(39).kept.is_some();
        assert!(last_is_kept || again >= 1, "{asked:?}");
        for (index, name) in names.iter().enumerate() {
            let times = asked.iter().filter(|line| line.starts_with(name)).count();
            let kept = objects.entry(index).kept.is_some();
            assert!(if kept { times <= 2 } else { times >= 2 }, "{name}: {times}");
        }
    }
}

#[test]
fn objects_that_cannot_be_read_are_listed_by_line_with_each_advice_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_, objects) = objects(None, 0);
    add(&objects, &["a", "missing-1", "denied-1", "b", "missing-2"]);
    let said = fetch(&objects, &folder).unwrap_err().to_string();
    assert_eq!(
        said,
        "3 objects cannot be read: train.manifest line 2: missing-1 is missing, train.manifest line \
         3: denied-1 is denied, train.manifest line 5: missing-2 is missing; ask; look"
    );
}

#[test]
fn many_failures_end_the_fetching_and_one_that_concerns_all_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, missing) = objects(None, 0);
    let names: Vec<String> = (0..500).map(|n| format!("missing-{n}")).collect();
    add(&missing, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let said = fetch(&missing, &folder).unwrap_err().to_string();
    assert!(said.contains("more; the others were not tried; look"), "{said}");
    assert!(memory.asked.lock().unwrap().len() < MAX_FAILURES + AT_A_TIME);

    let (_, down) = objects(None, 0);
    add(&down, &["down-1", "missing-1", "down-2"]);
    let said = fetch(&down, &folder).unwrap_err().to_string();
    assert!(
        said.starts_with("train.manifest line ") && said.ends_with(": it is down; wait"),
        "{said}"
    );
}

#[test]
fn being_asked_to_stop_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (_, objects) = objects(None, 0);
    add(&objects, &["missing-1", "stop-1"]);
    fetch(&objects, &folder).unwrap();
}

#[test]
fn a_store_that_cannot_be_connected_to_says_why_without_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let connect: Connect =
        Arc::new(|| Err(Failure::everything("there are no credentials", "give some")));
    let objects = Objects::new(connect, Room { limit: None, reserve: 0 });
    let all = add(&objects, &["a"]);
    let said = fetch(&objects, &folder).unwrap_err().to_string();
    assert_eq!(said, "there are no credentials; give some");
    assert!(all[0].read().is_err());
}
