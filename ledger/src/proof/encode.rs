//! Writing a proof (docs/spec/proof.md).

use std::fmt::Display;

use super::{KIND, Proof, RecordedEvent, TlogProof};

struct Writer(Vec<u8>);

impl Writer {
    fn line(&mut self, name: &str, value: impl Display) {
        self.0.extend_from_slice(format!("{name} {value}\n").as_bytes());
    }

    /// Bytes behind their length.
    fn block(&mut self, name: &str, bytes: &[u8]) {
        self.line(name, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn event(&mut self, event: &RecordedEvent) {
        self.line("seq", event.seq);
        self.line("recorded_at", event.recorded_at);
        self.line("event_id", event.event_id);
        self.line("counter", event.counter);
        self.line("public_key", event.public_key);
        self.line("signature", event.signature);
        self.line("submission_index", event.submission_index);
        self.line("submission_count", event.digests.len());
        event.digests.iter().for_each(|digest| self.line("payload_digest", digest));
        self.line("manifest", event.manifest);
        self.line("path", event.path.len());
        event.path.iter().for_each(|hash| self.line("hash", hash));
        match &event.payload {
            None => self.line("payload", "withheld"),
            Some(payload) => {
                self.block("payload", payload);
                self.0.push(b'\n');
            }
        }
    }
}

impl Proof {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut file = Writer(format!("{KIND}\n").into_bytes());
        file.line("origin", &self.origin);
        file.line("workspace", &self.workspace);
        file.line("notes", self.notes.len());
        file.line("events", self.events.len());
        for note in &self.notes {
            file.block("note", note.note.as_bytes());
            let (index, path) = (note.index, note.path.clone());
            let tlog = TlogProof { index, path, checkpoint: self.checkpoint.clone() };
            file.block("tlog-proof", tlog.to_text().as_bytes());
        }
        self.events.iter().for_each(|event| file.event(event));
        file.0
    }
}
