//! The steps of sealing, erasing, retention and changing the seal key, by name, so that a test can stop
//! between any two of them.

/// A step that has just been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No entry of the hours to seal can be recorded any more.
    Fenced,
    /// The rows of a chunk have been read and checked.
    RowsRead,
    /// A chunk's object, or the one that takes its place, is in the store.
    ObjectPut,
    /// It has been read back and verified.
    ObjectReadBack,
    /// A chunk's manifest is in the store.
    ManifestPut,
    /// The heads of the hour are in the store.
    HeadsPut,
    /// The hour's note is in the store.
    HourNotePut,
    /// The leaves that come next are in the database; no object of the log holds one.
    LeavesKept,
    /// The log's entry bundles are in the store.
    BundlesPut,
    /// The log's tiles are in the store.
    TilesPut,
    /// The checkpoint names all of them.
    CheckpointPut,
    /// Tiles and bundles that fuller ones replace are gone.
    Trimmed,
    /// The database knows what has been published.
    Marked,
    /// The note by which the seal key changes is in the database; nothing else of it is anywhere.
    ChangeKept,
    /// Objects that hold erased payloads, or are pruned, are gone.
    Removed,
    /// The payloads of a day have left the database.
    DayArchived,
    /// The database holds the erased payloads no more.
    Erased,
}

impl Step {
    /// Those of sealing, in order.
    pub const SEALING: [Self; 13] = [
        Self::Fenced,
        Self::RowsRead,
        Self::ObjectPut,
        Self::ObjectReadBack,
        Self::ManifestPut,
        Self::HeadsPut,
        Self::HourNotePut,
        Self::LeavesKept,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
    ];

    /// Those of changing the seal key, in order.
    pub const CHANGING_KEYS: [Self; 7] = [
        Self::ChangeKept,
        Self::LeavesKept,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
    ];

    /// Those of retention, in order.
    pub const RETAINING: [Self; 8] = [
        Self::DayArchived,
        Self::LeavesKept,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
        Self::Removed,
    ];

    /// Those of rolling up, in order.
    pub const ROLLING_UP: [Self; 9] = [
        Self::ObjectPut,
        Self::ObjectReadBack,
        Self::ManifestPut,
        Self::LeavesKept,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
    ];

    /// Those of erasing, in order.
    pub const ERASING: [Self; 11] = [
        Self::ObjectPut,
        Self::ObjectReadBack,
        Self::ManifestPut,
        Self::LeavesKept,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
        Self::Removed,
        Self::Erased,
    ];
}

/// Told of each step as it has been taken. Where it answers `false`, work stops there, as if the
/// process had been killed.
pub trait Probe: Send + Sync {
    /// Whether to go on after `step`.
    fn go_on(&self, step: Step) -> bool;
}

/// Never stops.
impl Probe for () {
    fn go_on(&self, _step: Step) -> bool {
        true
    }
}

impl<F: Fn(Step) -> bool + Send + Sync> Probe for F {
    fn go_on(&self, step: Step) -> bool {
        self(step)
    }
}
