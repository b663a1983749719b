//! The steps of sealing an hour, by name, so that a test can stop between any two of them.

/// A step that has just been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No entry of the hours to seal can be recorded any more.
    Fenced,
    /// The rows of a chunk have been read and checked.
    RowsRead,
    /// A chunk's object is in the store.
    ObjectPut,
    /// It has been read back and verified.
    ObjectReadBack,
    /// A chunk's manifest is in the store.
    ManifestPut,
    /// The heads of the hour are in the store.
    HeadsPut,
    /// The hour's note is in the store.
    HourNotePut,
    /// The log's entry bundles are in the store.
    BundlesPut,
    /// The log's tiles are in the store.
    TilesPut,
    /// The checkpoint names all of them.
    CheckpointPut,
    /// Tiles and bundles that fuller ones replace are gone.
    Trimmed,
    /// The database knows that the hour is sealed.
    Marked,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 12] = [
        Self::Fenced,
        Self::RowsRead,
        Self::ObjectPut,
        Self::ObjectReadBack,
        Self::ManifestPut,
        Self::HeadsPut,
        Self::HourNotePut,
        Self::BundlesPut,
        Self::TilesPut,
        Self::CheckpointPut,
        Self::Trimmed,
        Self::Marked,
    ];
}

/// Told of each step as it has been taken. Where it answers `false`, sealing stops there, as if the
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
