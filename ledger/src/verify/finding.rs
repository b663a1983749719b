//! What a check found, how grave it is, and where.

use std::fmt;

use crate::chunk::ChunkManifest;
use crate::names::Workspace;
use crate::time::Hour;

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; the archive is intact.
    Notice,
    /// Intact, but short of what the auditor's policy asks for.
    Policy,
    /// A check could not be made.
    Unfinished,
    /// Tampering, forgery or loss.
    Tampering,
}

impl Severity {
    /// The severity's name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Policy => "policy",
            Self::Unfinished => "unfinished",
            Self::Tampering => "tampering",
        }
    }
}

macro_rules! checks {
    ($($id:literal $name:ident $severity:ident $title:literal)*) => {
        /// Every check, by its stable id (`docs/spec/findings.md`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $(#[doc = concat!($id, ": ", $title, ".")] $name,)*
        }

        impl Check {
            /// Every check there is, by id.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The check that has this id.
            pub fn parse(id: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|check| check.id() == id)
            }

            /// The stable id, e.g. `T001`.
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What is wrong when this check fails, in one line.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// What it means for the verdict.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

checks! {
    "T001" CheckpointMissing Tampering "the log's checkpoint is missing"
    "T002" CheckpointMalformed Tampering "the checkpoint is not a signed note of the form of a checkpoint"
    "T003" CheckpointUntrusted Tampering "the checkpoint is not signed by a seal key that the auditor trusts"
    "T004" CheckpointOrigin Tampering "the checkpoint is of another ledger"
    "T005" LogMissing Tampering "a tile or entry bundle of the log is missing"
    "T006" LogMalformed Tampering "an entry bundle of the log cannot be read"
    "T007" TileWrong Tampering "a tile of the log does not hold the hashes of the log's entries"
    "T008" LogRoot Tampering "the log's entries do not have the root that the checkpoint states"
    "T009" LeafKind Tampering "a leaf of the log is of no known kind"
    "T010" LeafSignature Tampering "a leaf of the log is not a note signed by the seal key"
    "T011" LeafOrigin Tampering "a leaf of the log is of another ledger"
    "T012" KeyNoteMalformed Tampering "a note about the seal keys in the log cannot be read or contradicts itself"
    "T013" KeyNoteOrder Tampering "a note about the seal keys does not follow from the log before it"
    "T014" RevokedKey Tampering "a revoked seal key has signed past its cut-off"
    "T015" CutoffRoot Tampering "the log is not the one that the auditor knows up to the cut-off of a revoked seal key"
    "T016" SeenForked Tampering "the log is not the one that the auditor has seen"
    "T017" SeenShrunk Tampering "the log is shorter than the one that the auditor has seen"
    "T020" ManifestMalformed Tampering "a chunk manifest in the log cannot be read or contradicts itself"
    "T021" ManifestSeq Tampering "a chunk does not start right after the chunk before"
    "T022" ManifestLink Tampering "a chunk does not start at the link that the chunk before ends with"
    "T023" ManifestPrevious Tampering "a chunk manifest does not name the manifest before"
    "T024" ManifestPart Tampering "the parts of an hour are not counted from 0 without a gap"
    "T025" ManifestHour Tampering "a chunk is logged outside its hour"
    "T026" ManifestTime Tampering "recorded_at falls from one chunk to the next"
    "T027" Amendment Tampering "an amended manifest does not match the one that it replaces"
    "T028" Prune Tampering "a prune record cannot be read or does not fit the log before it"
    "T030" HourMalformed Tampering "an hour note in the log cannot be read"
    "T031" HourOrder Tampering "an hour note is missing, doubled or out of order"
    "T032" HourPrevious Tampering "an hour note does not name the hour note before"
    "T033" HourCounts Tampering "an hour note counts other chunks or workspaces than are logged"
    "T034" HourHeads Tampering "an hour note states other heads than the chunks end with"
    "T040" CopyMissing Tampering "the archive's copy of a logged note or of its heads is missing"
    "T041" CopyDiffers Tampering "the archive's copy of a logged note or of its heads differs from the log"
    "T050" ObjectMissing Tampering "the object of a chunk or of a rollup is missing"
    "T051" ObjectDigest Tampering "an object does not have the size or digests that its manifest states"
    "T052" ObjectUnreadable Tampering "an object is not a Parquet file of this format"
    "T060" RowCount Tampering "a chunk holds another number of rows than its manifest states"
    "T061" RowSeq Tampering "seqs are not consecutive"
    "T062" RowTime Tampering "recorded_at falls, leaves its hour, or is not what the manifest states"
    "T063" PayloadDigest Tampering "a payload does not have the digest that is recorded for it"
    "T064" PayloadRules Tampering "a payload breaks the rules of the format"
    "T065" EventId Tampering "an event_id is not that of the payload"
    "T066" DerivedColumn Tampering "a derived column says something else than the payload"
    "T067" RowLink Tampering "a link does not follow from the link before and the entry"
    "T068" ChunkLink Tampering "a chunk's rows do not end with the link that the manifest states"
    "T069" ChunkRoot Tampering "a chunk's entries do not have the root that the manifest states"
    "T070" SubmissionCut Tampering "a submission is not whole: an index or count is wrong"
    "T071" SubmissionMixed Tampering "the rows of one submission disagree about it"
    "T072" PublicKey Tampering "a public key is refused: not canonical, or of small order"
    "T073" Signature Tampering "a submission's signature does not verify"
    "T074" SubmissionHash Tampering "a submission_hash is not that of the signed statement"
    "T080" KeyRule Tampering "a submission was recorded that its key was not allowed to make"
    "T081" LedgerContext Tampering "the context of a ledger. event is not what its type asks for"
    "T082" EventTwice Tampering "an event_id is recorded twice in a workspace"
    "T083" CounterTwice Tampering "a counter is used twice by a key"
    "T084" Withheld Tampering "a payload is withheld, and no later event of the chain allows it"
    "T085" LedgerWithheld Tampering "the payload of the event that opens a chain is withheld"
    "T090" WorkspaceMissing Tampering "a workspace that the auditor knows is not in the archive"
    "T091" RootKeys Tampering "a workspace was not created with the root keys that the auditor knows"
    "T095" UnknownObject Tampering "an object lies in the archive that nothing in the log names"
    "T096" StaleObject Tampering "a superseded object is still there with other bytes than it had"
    "T100" HourOpen Policy "chunks are logged whose hour has no note yet"
    "T101" Stale Policy "the archive ends before the hour that it should reach"
    "T102" Erased Policy "payloads are withheld by an erasure that the chain records"
    "T103" Unlogged Policy "an object lies in the archive that the log may name later"
    "T104" MayHideKeys Policy "a withheld payload may have set keys: a root key signed it alone"
    "T105" RestsOnRevoked Policy "the auditor's trust reaches the checkpoint only by a seal key that the log revokes"
    "T106" Pruned Policy "chunks were removed by retention, as the log records"
    "T107" PrunedEarly Policy "records were removed earlier than the auditor's policy, or the record itself, allows"
    "T108" Unlocked Policy "the store does not lock objects for everybody"
    "T109" ClaimedTime Policy "an event claims a time that is far from the one at which it was recorded"
    "T110" Unreadable Unfinished "an object could not be read from the store"
    "T111" NoArchive Unfinished "the store holds no archive"
    "T112" Unchecked Unfinished "a part could not be checked, because another one is broken"
    "T113" CutoffAhead Unfinished "the log ends before the cut-off of a revoked seal key, so that nothing tells it from a forgery"
    "T118" NoHour Policy "no sealed hour lies in the times that were asked for"
    "T120" CounterMissing Notice "an agent counted submissions that the ledger never recorded"
    "T121" Custodian Notice "events are attested by the ledger's custodian, not by an agent"
    "T122" Unpinned Notice "the trust file does not name the root keys of a workspace"
    "T130" ReceiptMissing Tampering "a receipt names a submission that the archive does not hold"
    "T131" ReceiptContradicted Tampering "the archive says something else than a receipt"
    "T132" ReceiptUnsealed Policy "a receipt is of an hour that is not sealed yet"
    "T135" ProofMalformed Tampering "a proof cannot be read or contradicts itself"
    "T136" ProofPath Tampering "an inclusion proof does not lead to the root"
    "T140" RollupMalformed Tampering "a rollup manifest in the log cannot be read or contradicts itself"
    "T141" RollupOrder Tampering "a rollup manifest does not follow from the log before it"
    "T142" RollupDefinition Tampering "the text that a rollup was computed by is no definition of it"
    "T143" RollupInputs Tampering "a rollup was computed from other chunks than those that hold its events"
    "T144" RollupStale Notice "days of a rollup were computed before chunks that hold their events were sealed or amended"
    "T145" RollupUnchecked Notice "rollups were computed from chunks that cannot all be compared"
    "T146" RollupWrong Tampering "a rollup is not what its definition makes of its inputs"
    "T147" RollupUnknown Policy "a rollup was made by a definition that this verifier does not know"
    "T148" RollupNotComputed Policy "rollups were not computed again"
}

/// Where a finding is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The archive key of the object.
    pub object: Option<String>,
    /// Index of the leaf in the log, from 0.
    pub log_index: Option<u64>,
    /// The workspace.
    pub workspace: Option<Workspace>,
    /// The hour.
    pub hour: Option<Hour>,
    /// The entry.
    pub seq: Option<u64>,
    /// The column.
    pub column: Option<&'static str>,
}

impl Place {
    /// An object of the archive.
    pub fn object(key: impl ToString) -> Self {
        Self { object: Some(key.to_string()), ..Self::default() }
    }

    /// A leaf of the log.
    pub fn leaf(index: u64) -> Self {
        Self { log_index: Some(index), ..Self::default() }
    }

    /// A chunk as a whole.
    pub fn chunk(manifest: &ChunkManifest) -> Self {
        Self {
            object: Some(manifest.object.clone()),
            workspace: Some(manifest.workspace.clone()),
            hour: Some(manifest.hour),
            ..Self::default()
        }
    }

    /// A workspace as a whole.
    pub fn workspace(workspace: &Workspace) -> Self {
        Self { workspace: Some(workspace.clone()), ..Self::default() }
    }

    /// The same place, at an entry.
    #[must_use]
    pub fn at_seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    /// The same place, in a column.
    #[must_use]
    pub fn in_column(mut self, column: &'static str) -> Self {
        self.column = Some(column);
        self
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The check that failed.
    pub check: Check,
    /// Where.
    pub place: Place,
    /// What should be there, where that can be said.
    pub expected: Option<String>,
    /// What is there, where that can be said.
    pub found: Option<String>,
    /// The reason, where the title does not say it all.
    pub detail: Option<String>,
}

impl Finding {
    /// A finding at a place.
    pub fn new(check: Check, place: Place) -> Self {
        Self { check, place, expected: None, found: None, detail: None }
    }

    /// The same finding, with what should be there and what is.
    #[must_use]
    pub fn differs(mut self, expected: impl ToString, found: impl ToString) -> Self {
        self.expected = Some(expected.to_string());
        self.found = Some(found.to_string());
        self
    }

    /// The same finding, with its reason.
    #[must_use]
    pub fn because(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}

impl fmt::Display for Place {
    /// From the widest to the narrowest; empty for the archive as a whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.log_index.map(|index| format!("log leaf {index}")));
        match &self.object {
            Some(object) => parts.push(object.clone()),
            None => {
                parts.extend(self.workspace.as_ref().map(|name| format!("workspace {name}")));
                parts.extend(self.hour.map(|hour| format!("hour {hour}")));
            }
        }
        parts.extend(self.seq.map(|seq| format!("seq {seq}")));
        parts.extend(self.column.map(|column| format!("column {column}")));
        f.write_str(&parts.join(", "))
    }
}

impl fmt::Display for Finding {
    /// One line: the check, the place, what differs and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.check.id(), self.check.title())?;
        let place = self.place.to_string();
        if !place.is_empty() {
            write!(f, " at {place}")?;
        }
        if let (Some(expected), Some(found)) = (&self.expected, &self.found) {
            write!(f, ": expected {expected}, found {found}")?;
        }
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}
