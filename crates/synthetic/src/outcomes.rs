//! How calls end: the odds that they fail, and the reasons that platforms give.

use crate::draws::{Draws, Weighted};
use crate::profile::Profile;
use crate::words::EndCategory;

/// Why a call ended: in the words of the platform, and in the server's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndReason {
    pub(crate) word: &'static str,
    pub(crate) category: EndCategory,
}

impl EndReason {
    pub(crate) const fn new(word: &'static str, category: EndCategory) -> Self {
        Self { word, category }
    }
}

const COMPLETED_REASONS: [(EndReason, f64); 4] = [
    (EndReason::new("user_hangup", EndCategory::CallerHangup), 46.0),
    (EndReason::new("agent_hangup", EndCategory::AgentHangup), 40.0),
    (EndReason::new("transferred", EndCategory::Transferred), 8.0),
    (EndReason::new("silence_timeout", EndCategory::Silence), 6.0),
];

/// Reasons of answered calls that failed although nothing reported an error.
const DROPPED_REASONS: [(EndReason, f64); 4] = [
    (EndReason::new("connection_lost", EndCategory::TelephonyError), 45.0),
    (EndReason::new("carrier_error", EndCategory::TelephonyError), 25.0),
    (EndReason::new("user_unresponsive", EndCategory::Unreachable), 20.0),
    (EndReason::new("transfer_failed", EndCategory::TelephonyError), 10.0),
];

const UNANSWERED_REASONS: [(EndReason, f64); 3] = [
    (EndReason::new("no_answer", EndCategory::NoAnswer), 78.0),
    (EndReason::new("busy", EndCategory::Busy), 16.0),
    (EndReason::new("rejected", EndCategory::Declined), 6.0),
];

/// How many errors a call with errors has.
const ERROR_COUNTS: [(usize, f64); 3] = [(1, 70.0), (2, 22.0), (3, 8.0)];

/// The share of calls with errors that fail, where the rate of failure leaves room for it.
const FAILURE_RATE_WITH_ERRORS: f64 = 0.4;

/// How one call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not answered, and has no length.
    Unanswered { end_reason: EndReason },
    /// There was a conversation.
    Answered(Ending),
}

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what it was for, perhaps after some errors.
    Completed { end_reason: EndReason, error_count: usize },
    /// The last of its errors ended it; there is at least one.
    Broken { error_count: usize },
    /// It failed without an error.
    Dropped { end_reason: EndReason },
}

/// How often calls have errors, and how often they fail with and without them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odds {
    error_rate: f64,
    failure_rate_with_errors: f64,
    failure_rate_without_errors: f64,
}

impl Odds {
    pub(crate) fn new(error_rate: f64, failure_rate: f64) -> Self {
        let error_rate = error_rate.clamp(0.0, 1.0);
        let failure_rate = failure_rate.clamp(0.0, 1.0);
        // Failures with and without errors must add up to the failure rate, at either extreme too.
        let failure_rate_with_errors = failure_rate.max(FAILURE_RATE_WITH_ERRORS.min(failure_rate / error_rate));
        let failure_rate_without_errors = (failure_rate - error_rate * failure_rate_with_errors) / (1.0 - error_rate);
        Self { error_rate, failure_rate_with_errors, failure_rate_without_errors }
    }
}

/// Draws how calls go.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    unanswered_share: f64,
    error_counts: Weighted<usize>,
    completed: Weighted<EndReason>,
    dropped: Weighted<EndReason>,
    unanswered: Weighted<EndReason>,
}

impl Outcomes {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            unanswered_share: match profile.samples_per_call {
                Some(_) => 0.0,
                None => profile.unanswered_share,
            },
            error_counts: Weighted::new(ERROR_COUNTS),
            completed: Weighted::new(COMPLETED_REASONS),
            dropped: Weighted::new(DROPPED_REASONS),
            unanswered: Weighted::new(UNANSWERED_REASONS),
        }
    }

    pub(crate) fn draw(&self, draws: &mut Draws, odds: Odds) -> Outcome {
        if draws.chance(odds.error_rate) {
            let error_count = *self.error_counts.pick(draws);
            let broken = draws.chance(odds.failure_rate_with_errors);
            return Outcome::Answered(if broken {
                Ending::Broken { error_count }
            } else {
                self.completed(draws, error_count)
            });
        }
        if !draws.chance(odds.failure_rate_without_errors) {
            return Outcome::Answered(self.completed(draws, 0));
        }
        if draws.chance(self.unanswered_share) {
            let end_reason = *self.unanswered.pick(draws);
            return Outcome::Unanswered { end_reason };
        }
        let end_reason = *self.dropped.pick(draws);
        Outcome::Answered(Ending::Dropped { end_reason })
    }

    fn completed(&self, draws: &mut Draws, error_count: usize) -> Ending {
        Ending::Completed { end_reason: *self.completed.pick(draws), error_count }
    }
}
