use super::*;
use crate::aws::{ObjectInfo, ObjectSink};

/// A store in memory that counts requests.
#[derive(Debug, Default)]
struct MemoryStore {
    requests: Mutex<Vec<String>>,
}

impl ObjectStore for MemoryStore {
    /// Returns the object's name, 100 times; names decide on failures.
    fn get(&self, get: &GetRequest<'_>, sink: &mut dyn ObjectSink) -> Result<ObjectInfo, S3Error> {
        let name = get.uri.file_name();
        self.requests.lock().unwrap().push(format!("{name} {}", get.etag.unwrap_or("-")));
        match name.split_once('-').map(|(kind, _)| kind) {
            Some("missing") => Err(S3Error::for_object(format!("{name} is missing"), "look")),
            Some("denied") => Err(S3Error::for_object(format!("{name} is denied"), "ask")),
            Some("down") => Err(S3Error::for_all_objects("it is down", "wait")),
            Some("stop") => Err(S3Error::stopped()),
            _ => {
                let bytes = name.repeat(100).into_bytes();
                sink.write_all(&bytes).unwrap();
                Ok(ObjectInfo { bytes: bytes.len() as u64, etag: Some(format!("etag of {name}")) })
            }
        }
    }

    fn list(&self, _: &S3Uri) -> Result<Vec<String>, S3Error> {
        unreachable!("manifests name objects")
    }
}

fn new_cache(limit: Option<u64>, reserve: u64) -> (Arc<MemoryStore>, Arc<ObjectCache>) {
    let memory = Arc::new(MemoryStore::default());
    let store = memory.clone();
    let connect = Arc::new(move || Ok(store.clone() as Arc<dyn ObjectStore>));
    (memory, ObjectCache::new(connect, DiskBudget { max_bytes: limit, reserved_bytes: reserve }))
}

fn add(cache: &Arc<ObjectCache>, names: &[&str]) -> Vec<CachedObject> {
    let uri = |name: &&str| format!("s3://bucket/{name}").parse().unwrap();
    let manifest = Arc::from("train.manifest");
    names.iter().zip(1..).map(|(name, line)| cache.add(uri(name), &manifest, line)).collect()
}

fn fetch_all_into(cache: &ObjectCache, folder: &tempfile::TempDir) -> Result<()> {
    cache.fetch_all(&folder.path().join("objects"), || ())
}

fn cached_size_bytes(folder: &tempfile::TempDir) -> u64 {
    let files = fs::read_dir(folder.path().join("objects")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn each_object_is_fetched_once_whatever_lines_name_it_and_then_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, objects) = new_cache(None, 0);
    let names = ["a", "b", "a", "c"];
    let added = add(&objects, &names);
    assert!(memory.requests.lock().unwrap().is_empty(), "adding is not reading");
    fetch_all_into(&objects, &folder).unwrap();
    for _ in 0..3 {
        for (object, name) in added.iter().zip(names) {
            assert_eq!(object.read().unwrap(), name.repeat(100).into_bytes());
        }
    }
    let mut asked = memory.requests.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["a -", "b -", "c -"]);
    assert_eq!(
        (added[2].to_string().as_str(), &added[0]),
        ("train.manifest line 1: s3://bucket/a", &added[2])
    );
    assert_eq!(cached_size_bytes(&folder), 300);
}

#[test]
fn what_has_no_room_is_fetched_each_time_and_must_be_the_same_content() {
    let names: Vec<String> = (0..40).map(|n| format!("name{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (limit, reserve, kept) in [(Some(6000), 0, 6000), (Some(0), 0, 0), (None, u64::MAX, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (memory, objects) = new_cache(limit, reserve);
        let added = add(&objects, &names);
        fetch_all_into(&objects, &folder).unwrap();
        for round in 0..2 {
            for (object, name) in added.iter().zip(&names) {
                assert_eq!(object.read().unwrap(), name.repeat(100).into_bytes());
            }
            assert_eq!(cached_size_bytes(&folder), kept, "full after round {round}, and no fuller");
        }
        let asked = memory.requests.lock().unwrap();
        let again = asked.iter().filter(|line| line.ends_with("39 etag of name39")).count();
        let last_is_kept = objects.entry(39).cached_path.is_some();
        assert!(last_is_kept || again >= 1, "{asked:?}");
        for (index, name) in names.iter().enumerate() {
            let times = asked.iter().filter(|line| line.starts_with(name)).count();
            let kept = objects.entry(index).cached_path.is_some();
            assert!(if kept { times <= 2 } else { times >= 2 }, "{name}: {times}");
        }
    }
}

#[test]
fn objects_that_cannot_be_read_are_listed_by_line_with_each_advice_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_, objects) = new_cache(None, 0);
    add(&objects, &["a", "missing-1", "denied-1", "b", "missing-2"]);
    let said = fetch_all_into(&objects, &folder).unwrap_err().to_string();
    assert_eq!(
        said,
        "3 objects cannot be read: train.manifest line 2: missing-1 is missing, train.manifest line \
         3: denied-1 is denied, train.manifest line 5: missing-2 is missing; ask; look"
    );
}

#[test]
fn many_failures_end_the_fetching_and_one_that_concerns_all_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, missing) = new_cache(None, 0);
    let names: Vec<String> = (0..500).map(|n| format!("missing-{n}")).collect();
    add(&missing, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let said = fetch_all_into(&missing, &folder).unwrap_err().to_string();
    assert!(said.contains("more; the others were not tried; look"), "{said}");
    assert!(memory.requests.lock().unwrap().len() < MAX_FAILURES + MAX_CONCURRENT_FETCHES);

    let (_, down) = new_cache(None, 0);
    add(&down, &["down-1", "missing-1", "down-2"]);
    let said = fetch_all_into(&down, &folder).unwrap_err().to_string();
    assert!(
        said.starts_with("train.manifest line ") && said.ends_with(": it is down; wait"),
        "{said}"
    );
}

#[test]
fn being_asked_to_stop_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (_, objects) = new_cache(None, 0);
    add(&objects, &["missing-1", "stop-1"]);
    fetch_all_into(&objects, &folder).unwrap();
}

#[test]
fn a_store_that_cannot_be_connected_to_says_why_without_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let connect: ConnectStore =
        Arc::new(|| Err(S3Error::for_all_objects("there are no credentials", "give some")));
    let objects = ObjectCache::new(connect, DiskBudget { max_bytes: None, reserved_bytes: 0 });
    let added = add(&objects, &["a"]);
    let said = fetch_all_into(&objects, &folder).unwrap_err().to_string();
    assert_eq!(said, "there are no credentials; give some");
    assert!(added[0].read().is_err());
}
