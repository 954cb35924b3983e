/// Whether the owner does what is due when it is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    #[default]
    KeepsUp,
    /// It stood still: what is due now was due long ago, all at once.
    CatchesUp,
}
