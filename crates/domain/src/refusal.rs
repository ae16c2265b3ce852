//! Why a sound record is not stored.

/// The bound on what is kept of a tenant that a record meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The start lies too far back.
    #[error("must be at most {days} days ago")]
    StartTooOld {
        /// The bound.
        days: i64,
    },
    /// Too many calls are active.
    #[error(
        "must not be active for a new call: the tenant has {max} active calls, the most that are kept; send the ends of \
         calls that are over, or this record once its call has ended"
    )]
    ActiveCalls {
        /// The bound.
        max: i64,
    },
    /// The tenant's quota of rows is used up.
    #[error(
        "must be that of a call that is stored: the tenant has used up its quota of {max} rows of calls and errors; ask \
         the operator of this server for a larger one"
    )]
    Rows {
        /// The bound.
        max: i64,
    },
}
