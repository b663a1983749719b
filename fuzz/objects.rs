//! Fuzz targets over whole objects, as a verifier meets them: what is in an archive, and the auditor's files.
//!
//! `fuzz_targets/` feeds these by libFuzzer; `verifier/tests/corpus.rs` feeds them the kept corpus on a stable
//! compiler. Not here: the decoders of single texts (see `targets.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ledger::names::{Origin, Workspace};
use ledger::verify::{Audit, Check, ChunkOutcome, Finding, Need, Place, Policy, Trust, Verdict};
use verifier::audit::check_chunk;
use verifier::rows::ChunkRows;
use verifier::{receipts, trust};

/// One object's checks over one input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus too.
pub const TARGETS: [(&str, Target); 3] = [("archive", archive), ("chunk", chunk), ("files", files)];

/// The golden archive of the vectors, with its trust file.
struct Golden {
    objects: BTreeMap<String, Vec<u8>>,
    trust: Trust,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/vectors/golden");
    let mut objects = BTreeMap::new();
    let archive = root.join("archive");
    let mut open = vec![archive.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("the golden archive") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let key = path.strip_prefix(&archive).expect("below it").display().to_string();
                objects.insert(key, fs::read(path).expect("an object"));
            }
        }
    }
    let text = fs::read_to_string(root.join("trust.toml")).expect("the trust file");
    Golden { objects, trust: trust::parse(&text).expect("a trust file") }
});

/// A chunk's object once its digests are found to be those of the manifest: whoever holds the seal key can put
/// anything behind them. The first byte is how many rows there should be.
pub fn chunk(input: &[u8]) {
    let Some((rows, object)) = input.split_first() else { return };
    let origin = Origin::new("ledger.example.com/golden").expect("an origin");
    let workspace = Workspace::new("acme").expect("a workspace");
    let expected = u64::from(*rows);
    let Ok(batches) = ChunkRows::open(object.to_vec(), &origin, &workspace, expected) else {
        return;
    };
    let mut found = 0;
    for batch in batches {
        let Ok(batch) = batch else { return };
        for row in batch.rows() {
            assert_eq!(row.derived.difference(&row.derived), None);
            found += 1;
        }
    }
    assert_eq!(found, expected);
}

/// The golden archive with one object replaced, the one whose number comes first: only the object that was
/// there is proven. A signature line more on a note is for witnesses, and no other object.
pub fn archive(input: &[u8]) {
    let Some((at, object)) = input.split_first() else { return };
    let Golden { objects, trust } = &*GOLDEN;
    let at = usize::from(*at) % objects.len();
    let (changed, original) = objects.iter().nth(at).expect("an object");
    let get = |key: &str| {
        if key == changed { Some(object) } else { objects.get(key).map(Vec::as_slice) }
    };
    let mut audit = Audit::new(trust.clone(), Policy::default());
    while let Some(need) = audit.need() {
        match need {
            Need::Listing => audit.listing(objects.keys().cloned()),
            Need::Object(artefact) => audit.object(&artefact, get(&artefact.to_string())),
            Need::Chunk { index, manifest, .. } => {
                let outcome = match get(&manifest.object) {
                    Some(object) => check_chunk(&manifest, &object.to_vec().into()),
                    None => {
                        let place = Place::chunk(&manifest);
                        ChunkOutcome::broken(Finding::new(Check::ObjectMissing, place))
                    }
                };
                audit.chunk(index, outcome);
            }
        }
    }
    let report = audit.finish();
    if object == original {
        assert_eq!(report.verdict, Verdict::Proven);
    } else if changed != "log/checkpoint" {
        assert_eq!(report.verdict, Verdict::Tampered, "{changed}");
    }
}

/// The auditor's own files: a trust file, a checkpoint that was kept, a receipt, a state.
pub fn files(input: &[u8]) {
    let Golden { trust, .. } = &*GOLDEN;
    let mut seen = trust.clone();
    if trust::add_seen(&mut seen, input).is_ok() {
        assert_eq!(seen.seen.len(), trust.seen.len() + 1);
    }
    let _ = receipts::read(input, trust);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(read) = trust::parse(text) {
        assert!(!read.seal_keys.is_empty());
    }
    if let Ok(mut audit) = Audit::resume(trust.clone(), Policy::default(), text) {
        assert!(matches!(audit.need(), Some(Need::Listing)));
    }
}
