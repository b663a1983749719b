//! The kept corpus of the fuzz targets over whole objects, replayed on a stable compiler.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test reads its files and stops at the first surprise"
)]

use std::path::Path;

#[path = "../../fuzz/objects.rs"]
mod objects;

#[test]
fn every_target_holds_on_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in objects::TARGETS {
        let files = std::fs::read_dir(corpus.join(name)).unwrap();
        let inputs: Vec<Vec<u8>> =
            files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(inputs.len() >= 3, "{name} keeps a corpus");
        for input in inputs {
            target(&input);
            // Cut, and with a byte changed, at some three hundred places: nothing panics either.
            for at in (0..input.len()).step_by(1 + input.len() / 300) {
                target(input.get(..at).unwrap());
                let mut changed = input.clone();
                changed.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
                target(&changed);
            }
        }
    }
}
