//! The steps between a request and its receipt: every point at which a process may die.
//!
//! Here: all of them, in the order of effects, so that a test that kills the service at each step
//! finds a new one by itself. Not here: what happens at a step.

/// A point between a request and its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The body has been read.
    Received,
    /// The submission has been checked, its signature too.
    Verified,
    /// The transaction is open.
    Begun,
    /// The fence and the heads are locked.
    Locked,
    /// It is decided what each submission becomes.
    Planned,
    /// The heads have moved on.
    Advanced,
    /// Submissions and entries have been copied.
    Copied,
    /// Keys are set too: everything is written and nothing committed.
    BeforeCommit,
    /// The commit was answered; nobody has been told.
    Committed,
    /// The receipt is signed and not yet sent.
    Signed,
    /// A submission is to be put into the queue.
    Putting,
    /// The queue has stored it; nobody has been told.
    Put,
    /// Messages were taken from the queue and checked.
    Taken,
    /// The queue's position is written, with what was refused, and nothing committed.
    Moved,
}

impl Step {
    /// The steps of a submission that goes through a queue, beside those of [`Self::ALL`].
    pub const QUEUED: [Self; 4] = [Self::Putting, Self::Put, Self::Taken, Self::Moved];

    /// Every step of a submission that is recorded at once, in order.
    pub const ALL: [Self; 10] = [
        Self::Received,
        Self::Verified,
        Self::Begun,
        Self::Locked,
        Self::Planned,
        Self::Advanced,
        Self::Copied,
        Self::BeforeCommit,
        Self::Committed,
        Self::Signed,
    ];

    /// The step's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Begun => "begun",
            Self::Locked => "locked",
            Self::Planned => "planned",
            Self::Advanced => "advanced",
            Self::Copied => "copied",
            Self::BeforeCommit => "before-commit",
            Self::Committed => "committed",
            Self::Signed => "signed",
            Self::Putting => "putting",
            Self::Put => "put",
            Self::Taken => "taken",
            Self::Moved => "moved",
        }
    }

    /// Reads a step's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().chain(Self::QUEUED).find(|step| step.name() == name)
    }
}

/// Is told of every step. Tests die, wait or count there; production has [`NoProbe`].
///
/// Called on the path of every submission, from many threads at once.
pub trait Probe: Send + Sync + 'static {
    /// The service is at this step.
    fn at(&self, step: Step);
}

/// Nothing happens at any step.
#[derive(Clone, Copy, Debug)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn at(&self, _step: Step) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_steps_are_listed_in_order_and_read_back() {
        assert!(Step::ALL.is_sorted());
        for step in Step::ALL.into_iter().chain(Step::QUEUED) {
            assert_eq!(Step::parse(step.name()), Some(step));
        }
        assert_eq!(Step::parse("linked"), None);
    }
}
