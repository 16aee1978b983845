//! The client against a server that fails in every way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use maskmaker::aws::{
    ErrorScope, GetRequest, ObjectInfo, ObjectStore, S3Client, S3Error, S3Settings, S3Uri,
    StopCheck,
};
use maskmaker::data::objects::{DiskBudget, ObjectCache};

use super::fake::{Act, FakeS3};

/// Short where a test waits for it, long where it must not.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_mins(1);

fn client(url: &str, timeout: Duration) -> (S3Client, Arc<AtomicBool>) {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let mut settings =
        S3Settings::new(timeout, StopCheck::new(move || asked.load(Ordering::Relaxed)));
    settings.initial_backoff = Duration::from_millis(5);
    (S3Client::for_endpoint(url, "key", "secret", settings).unwrap(), stop)
}

fn uri(text: &str) -> S3Uri {
    text.parse().unwrap()
}

fn read(client: &S3Client, of: &str) -> Result<(Vec<u8>, ObjectInfo), S3Error> {
    let mut bytes = b"rest of another attempt".to_vec();
    let about =
        client.get(&GetRequest { uri: &uri(of), max_bytes: 1000, etag: None }, &mut bytes)?;
    Ok((bytes, about))
}

#[test]
fn errors_of_the_server_and_cut_bodies_are_tried_again() {
    let s3 = FakeS3::start();
    let object: Vec<u8> = (0..=255).collect();
    let slow = Act::Refuse(503, "SlowDown");
    for acts in [
        vec![],
        vec![slow.clone(), Act::Refuse(500, "InternalError")],
        vec![Act::Cut(100), Act::Cut(0)],
        vec![Act::Cut(255), slow, Act::Cut(1)],
    ] {
        s3.put("bucket/a b/ü+%.jpg", object.clone());
        s3.acts("bucket/a b/ü+%.jpg", acts.clone());
        let before = s3.requests().len();
        let (client, _) = client(&s3.url(), LONG);
        let (bytes, about) = read(&client, "s3://bucket/a b/ü+%.jpg").unwrap();
        assert!(bytes == object, "{acts:?}");
        assert_eq!(about.bytes, 256);
        assert_eq!(s3.requests().len() - before, acts.len() + 1, "{acts:?}");
    }
}

#[test]
fn what_does_not_get_better_ends_with_what_happened() {
    for (act, scope, what, advice) in [
        (Act::Cut(10), ErrorScope::Object, "broke off after 10 of 100 bytes, 5 times", "a proxy"),
        (
            Act::Stall(10),
            ErrorScope::AllObjects,
            "nothing came for 0.2 s after 10 bytes",
            "S3_TIMEOUT",
        ),
        (Act::Silent, ErrorScope::AllObjects, "did not answer in time", "gateway endpoint"),
        (Act::Refuse(503, "SlowDown"), ErrorScope::AllObjects, "S3 answered 503 SlowDown", "later"),
        (
            Act::Refuse(403, "AccessDenied"),
            ErrorScope::Object,
            "access denied",
            "s3:GetObject on arn:",
        ),
        (
            Act::Refuse(403, "InvalidAccessKeyId"),
            ErrorScope::AllObjects,
            "InvalidAccessKeyId",
            "role",
        ),
        (Act::Refuse(404, "NoSuchKey"), ErrorScope::Object, "no such object", "the key"),
        (Act::Refuse(404, "NoSuchBucket"), ErrorScope::Object, "no such bucket", "its name"),
    ] {
        let s3 = FakeS3::start();
        s3.put("bucket/a.jpg", [7; 100]);
        s3.always(act.clone());
        let waits = matches!(act, Act::Stall(_) | Act::Silent);
        let (client, _) = client(&s3.url(), if waits { SHORT } else { LONG });
        let failure = read(&client, "s3://bucket/a.jpg").unwrap_err();
        assert_eq!(failure.scope, scope, "{failure}");
        assert!(failure.message.starts_with("s3://bucket/a.jpg: "), "{failure}");
        assert!(failure.message.contains(what) && failure.advice.contains(advice), "{failure}");
        let refused = matches!(act, Act::Refuse(403 | 404, _));
        assert_eq!(s3.requests().len(), if refused { 1 } else { 5 }, "{act:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_address_and_the_ways_out() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (client, _) = client(&gone, LONG);
    let failure = read(&client, "s3://bucket/a.jpg").unwrap_err();
    assert_eq!(failure.scope, ErrorScope::AllObjects);
    let said = failure.to_string();
    for part in [&gone, "cannot be reached: ", "gateway endpoint", "Pipe mode"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn objects_above_the_limit_are_not_read_and_other_content_than_before_is_refused() {
    let s3 = FakeS3::start();
    s3.put("bucket/large", [7; 1001]);
    s3.put("bucket/fits", [7; 1000]);
    let (client, _) = client(&s3.url(), LONG);
    let said = read(&client, "s3://bucket/large").unwrap_err().to_string();
    assert!(said.ends_with("has 1001 bytes or more; up to 1000 bytes are allowed"), "{said}");
    let (_, about) = read(&client, "s3://bucket/fits").unwrap();
    let fits = uri("s3://bucket/fits");
    let again = GetRequest { uri: &fits, max_bytes: 1000, etag: about.etag.as_deref() };
    client.get(&again, &mut Vec::new()).unwrap();
    s3.put("bucket/fits", [8; 1000]);
    let said = client.get(&again, &mut Vec::new()).unwrap_err().to_string();
    assert!(said.contains("changed since it was first read"), "{said}");
}

#[test]
fn a_file_holds_the_object_alone_after_a_cut() {
    let s3 = FakeS3::start();
    s3.put("bucket/a", [7; 100]);
    s3.acts("bucket/a", [Act::Cut(99)]);
    let (client, _) = client(&s3.url(), LONG);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let get = GetRequest { uri: &uri("s3://bucket/a"), max_bytes: 1000, etag: None };
    client.get(&get, file.as_file_mut()).unwrap();
    assert_eq!(std::fs::read(file.path()).unwrap(), [7; 100]);
}

#[test]
fn a_request_to_stop_ends_the_waiting() {
    let s3 = FakeS3::start();
    s3.put("bucket/a.jpg", [7; 100]);
    s3.always(Act::Silent);
    let (client, stop) = client(&s3.url(), Duration::from_hours(1));
    let failure = thread::scope(|scope| {
        let reading = scope.spawn(|| read(&client, "s3://bucket/a.jpg"));
        s3.wait_for_a_request();
        stop.store(true, Ordering::Relaxed);
        reading.join().unwrap().unwrap_err()
    });
    assert_eq!(failure, S3Error::stopped());
}

#[test]
fn objects_are_fetched_side_by_side_but_not_all_at_once() {
    let s3 = FakeS3::start();
    let (client, _) = client(&s3.url(), LONG);
    let store: Arc<dyn ObjectStore> = Arc::new(client);
    let room = DiskBudget { max_bytes: None, reserved_bytes: 0 };
    let objects = ObjectCache::new(Arc::new(move || Ok(store.clone())), room);
    let all: Vec<_> = (0..100)
        .map(|n| {
            s3.put(&format!("bucket/{n}"), n.to_string());
            objects.add(uri(&format!("s3://bucket/{n}")), &"m".into(), n + 1)
        })
        .collect();
    // Nothing is answered before eight are asked for: one after the other would never end.
    s3.together(8);
    let folder = tempfile::tempdir().unwrap();
    objects.fetch_all(folder.path(), || ()).unwrap();
    for (n, object) in all.iter().enumerate() {
        assert_eq!(object.read().unwrap(), n.to_string().into_bytes());
    }
    assert!((8..=16).contains(&s3.most_at_a_time()), "{}", s3.most_at_a_time());
    assert_eq!(s3.requests().len(), 100);
    assert!(Path::new(folder.path()).exists());
}

#[test]
fn a_folder_lists_the_objects_right_below_it() {
    let s3 = FakeS3::start();
    for key in ["w/a.pth", "w/b.pth", "w/x/c.pth", "w.pth", "w/"] {
        s3.put(&format!("bucket/{key}"), "x");
    }
    let (client, _) = client(&s3.url(), LONG);
    let mut names = client.list(&uri("s3://bucket/w/")).unwrap();
    names.sort();
    assert_eq!(names, ["a.pth", "b.pth"]);
    assert_eq!(client.list(&uri("s3://bucket")).unwrap(), ["w.pth"]);
    s3.acts("bucket/", [Act::Refuse(403, "AccessDenied")]);
    let said = client.list(&uri("s3://bucket/w/")).unwrap_err().to_string();
    assert!(said.contains("s3:ListBucket on arn:aws:s3:::bucket,"), "{said}");
}
