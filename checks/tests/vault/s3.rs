//! What an object store must do to be a vault.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use archiver::vault::{Guarantee, Guarantees, Removal, S3Vault, Vault as _, VaultError};
use checks::store::flaky::{Act, Fault, Flaky};
use checks::store::server::{Server, connect};
use checks::store::{ADDRESS, PREFIX, source, with_silence};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use verifier::store::s3::Patience;
use verifier::store::{
    ArchiveSource as _, Lock, OBJECT_BYTES_MAX, S3Settings, S3Source, SourceError,
};

use super::suite::{KEY, race, suite};

fn vault(store: impl ObjectStore) -> S3Vault {
    S3Vault::over(source(Arc::new(store)).unwrap())
}

const HEEDS: Guarantees = Guarantees { create: Guarantee::Store, replace: Guarantee::Store };
const IGNORES: Guarantees =
    Guarantees { create: Guarantee::Compared, replace: Guarantee::Compared };

#[test]
fn a_store_in_memory_keeps_the_promises() {
    let vault = vault(InMemory::new());
    suite(&vault);
    race(&vault);
    assert_eq!(vault.probe(KEY).unwrap(), HEEDS);
}

#[test]
fn a_server_keeps_the_promises() {
    let server = Server::files().unwrap();
    let vault = vault(server.connect().unwrap());
    suite(&vault);
    assert_eq!(vault.probe(KEY).unwrap(), HEEDS);
}

#[test]
fn a_store_that_ignores_conditions_is_found_out_and_keeps_the_promises() {
    let store = Flaky::without_conditions();
    let vault = vault(store.clone());
    assert_eq!(vault.probe(KEY).unwrap(), Guarantees::default());
    suite(&vault);
    assert_eq!(vault.probe(KEY).unwrap(), IGNORES);
    assert!(vault.get(KEY).unwrap().is_some());
}

#[test]
fn calls_may_come_from_a_thread_that_drives_futures() {
    let vault = vault(InMemory::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { vault.create(KEY, b"one") }).unwrap();
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");
}

/// Any fault, at any of the first requests of a write, comes to the same object or to an error.
#[test]
fn any_fault_of_any_request_of_a_write_is_mended() {
    for fault in Fault::ALL {
        for before in 0..4 {
            let store = Flaky::new();
            let vault = vault(store.clone());
            let mut script = vec![None; before];
            script.push(Some(fault));
            store.follow(script.clone());
            vault.create(KEY, b"one").unwrap();
            store.follow(script.clone());
            vault.replace("log/checkpoint", None, b"first").unwrap();
            store.follow(script.clone());
            vault.replace("log/checkpoint", Some(b"first"), b"second").unwrap();
            store.follow(script);
            assert_eq!(vault.remove(KEY).unwrap(), Removal::Gone, "{fault:?} at {before}");
            store.follow(Vec::new());
            assert_eq!(vault.get(KEY).unwrap(), None, "{fault:?} at {before}");
            assert_eq!(vault.get("log/checkpoint").unwrap().unwrap(), b"second");
            assert!(!store.acts().iter().any(|act| matches!(act, Act::BeganParts(_))));
        }
    }
}

#[test]
fn a_store_that_does_not_recover_is_given_up_and_nothing_is_claimed() {
    let store = Flaky::new();
    let vault = vault(store.clone());
    for fault in [Fault::Internal, Fault::SlowDown, Fault::Conflict] {
        // Reads go through, so that it is the write that fails.
        store.follow([None, Some(fault)].repeat(8));
        let failed = vault.create(KEY, b"one");
        assert!(matches!(failed, Err(VaultError::Store { .. })), "{fault:?}: {failed:?}");
    }
    store.follow(vec![Some(Fault::CutShort); 8]);
    assert_eq!(vault.get(KEY).unwrap(), None);
    store.follow(Vec::new());
    vault.create(KEY, b"one").unwrap();
    store.follow(vec![Some(Fault::CutShort); 8]);
    let cut = vault.get(KEY);
    assert!(matches!(cut, Err(SourceError::CutShort { announced: 3, found: 1, .. })), "{cut:?}");
}

/// A connection that makes its request again, long after another archiver has gone on.
#[test]
fn a_late_write_does_not_set_the_checkpoint_back() {
    let store = Flaky::new();
    let vault = vault(store.clone());
    let key = "log/checkpoint";
    vault.replace(key, None, b"first").unwrap();
    let late = [None, Some(Fault::Late)];
    store.follow([&late[..], &[None; 5]].concat());
    vault.replace(key, Some(b"first"), b"second").unwrap();
    vault.replace(key, Some(b"second"), b"third").unwrap();
    for _ in 0..4 {
        assert_eq!(vault.get(key).unwrap().unwrap(), b"third");
    }
    let tries = store.hit();
    assert_eq!(tries.get("PUT Late"), Some(&1), "{tries:?}");
}

#[test]
fn what_the_store_keeps_is_left() {
    let store = Flaky::without_removal();
    let vault = vault(store);
    vault.create(KEY, b"one").unwrap();
    assert_eq!(vault.remove(KEY).unwrap(), Removal::Kept);
    assert_eq!(vault.remove("hours/none").unwrap(), Removal::Gone);
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_object_stays_whatever_is_done() {
    let server = Server::locking().await.unwrap();
    let vault = vault(server.connect().unwrap());
    vault.create(KEY, b"one").unwrap();
    assert_eq!(vault.probe(KEY).unwrap().create, Guarantee::Store);
    assert!(matches!(vault.create(KEY, b"two"), Err(VaultError::Differs(_))));
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");

    let store = server.connect().unwrap();
    let source = S3Source::connected(store, ADDRESS, PREFIX, Patience::DEFAULT).unwrap();
    let lock = source.lock(KEY).unwrap();
    assert!(lock.as_str() == "compliance" && lock.until().unwrap().starts_with("20"), "{lock}");
    assert_eq!(source.lock("hours/none").unwrap(), Lock::Unknown);

    // Not by deleting its version either: what the lock is for.
    let url = format!("{}/tally/{PREFIX}/{KEY}", server.endpoint());
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, url: String| {
        client.request(method, url).header("authorization", Server::signed_somehow()).send()
    };
    let head = ask(reqwest::Method::HEAD, url.clone()).await.unwrap();
    let header = |name: &str| head.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(header("x-amz-object-lock-mode"), "COMPLIANCE");
    let version = format!("{url}?versionId={}", header("x-amz-version-id"));
    let deleted = ask(reqwest::Method::DELETE, version.clone()).await.unwrap();
    assert_eq!(deleted.status(), 403, "{}", deleted.text().await.unwrap());
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");

    // Removing it hides it, as in any bucket with versions; the bytes stay.
    assert_eq!(vault.remove(KEY).unwrap(), Removal::Gone);
    assert_eq!(vault.get(KEY).unwrap(), None);
    assert_eq!(ask(reqwest::Method::GET, version).await.unwrap().bytes().await.unwrap(), "one");
}

#[test]
fn a_store_that_locks_nothing_says_so() {
    let server = Server::files().unwrap();
    let store = server.connect().unwrap();
    let source = S3Source::connected(store, ADDRESS, PREFIX, Patience::DEFAULT).unwrap();
    vault(server.connect().unwrap()).create(KEY, b"one").unwrap();
    assert_eq!(source.lock(KEY).unwrap(), Lock::Open);
    let gone = server.connect().unwrap();
    drop(server);
    let patience = Patience { silence: Duration::from_millis(200), ..Patience::DEFAULT };
    let source = S3Source::connected(gone, ADDRESS, PREFIX, patience).unwrap();
    assert_eq!(source.lock(KEY).unwrap(), Lock::Unknown);
}

#[test]
fn a_listing_of_many_pages_is_whole_and_in_order() {
    let server = Server::files().unwrap();
    let source = source(Arc::new(server.connect().unwrap())).unwrap();
    assert!(source.list().unwrap().is_empty());
    let objects = server.archive().join("hours");
    std::fs::create_dir_all(&objects).unwrap();
    for index in 0..2_345 {
        std::fs::write(objects.join(format!("{index}")), b"").unwrap();
    }
    // A neighbour whose name starts alike.
    std::fs::create_dir_all(server.archive().with_extension("old")).unwrap();
    std::fs::write(server.archive().with_extension("old").join("x"), b"").unwrap();
    let keys = source.list().unwrap();
    assert_eq!(keys.len(), 2_345);
    assert!(keys.is_sorted() && keys.iter().all(|key| key.starts_with("hours/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_too_large_is_not_read() {
    let server = Server::files().unwrap();
    let path = server.archive().join("hours/large");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // A hole: it takes no room.
    std::fs::File::create(&path).unwrap().set_len(OBJECT_BYTES_MAX + 1).unwrap();
    let source = source(Arc::new(server.connect().unwrap())).unwrap();
    let refused = source.get("hours/large");
    assert!(matches!(refused, Err(SourceError::TooLarge { .. })), "{refused:?}");
}

#[test]
fn what_is_wrong_with_a_store_is_told() {
    let server = Server::files().unwrap();
    let open = |address: &str, endpoint: &str| {
        let endpoint = Some(endpoint.to_owned());
        S3Source::open(address, &S3Settings { endpoint, ..S3Settings::default() })
    };
    for address in ["s3://", "s3://a b/x", "s3://tally/../x", "s3://tally/a//b", "s3://tally/%2e"] {
        let wrong = open(address, &server.endpoint());
        assert!(matches!(wrong, Err(SourceError::Address(_))), "{address}");
    }
    let remote = open("s3://tally/x", "http://s3.example.com").unwrap_err().to_string();
    assert!(remote.contains("allow_http"), "{remote}");

    let nowhere = source(Arc::new(server.connect().unwrap())).unwrap();
    std::fs::remove_dir(server.archive().ancestors().nth(2).unwrap()).unwrap();
    assert!(matches!(nowhere.list(), Err(SourceError::Bucket { .. })), "{:?}", nowhere.list());
}

/// A store that takes connections and never answers is given up, and nothing is claimed of it.
#[test]
fn a_store_that_falls_silent_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Some(format!("http://{}", silent.local_addr().unwrap()));
    let store = connect(&S3Settings { endpoint, ..S3Settings::default() }).unwrap();
    let vault = S3Vault::over(with_silence(Arc::new(store), Duration::from_millis(50)).unwrap());
    let told = |error: &dyn ToString| assert!(error.to_string().contains("silent"));
    told(&vault.get(KEY).unwrap_err());
    told(&vault.list().unwrap_err());
    told(&vault.create(KEY, b"one").unwrap_err());
    told(&vault.remove(KEY).unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_consoles_make_are_no_trouble_and_keys_that_nobody_can_read_are_told() {
    let server = Server::locking().await.unwrap();
    let source = source(Arc::new(server.connect().unwrap())).unwrap();
    let put = async |key: &str| {
        let url = format!("{}/tally/{PREFIX}/{key}", server.endpoint());
        let request = reqwest::Client::new().put(url).body("");
        let request = request.header("authorization", Server::signed_somehow());
        let request = request.header("x-amz-sdk-checksum-algorithm", "SHA256");
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    put("").await;
    put("log/checkpoint").await;
    assert_eq!(source.list().unwrap(), ["log/checkpoint"]);
    put("log//checkpoint").await;
    let refused = source.list();
    assert!(matches!(refused, Err(SourceError::Store { .. })), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("log//checkpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_in_a_listing_is_listed_as_it_is() {
    let store = Arc::new(InMemory::new());
    store.put(&Path::from("deep/archive/log/che ckpoint"), "x".into()).await.unwrap();
    store.put(&Path::from("deep/other/log"), "x".into()).await.unwrap();
    let source = source(store).unwrap();
    assert_eq!(source.list().unwrap(), ["log/che ckpoint"]);
    let refused = source.get("log/che ckpoint");
    assert!(matches!(refused, Err(SourceError::Key(_))), "{refused:?}");
}
