//! The types and the algebra of callscope: calls, windows, contributions, histograms.
//!
//! Everything here is a pure function or a value. No I/O, no async, no clock, no serde: the crates around this one
//! read bytes, ask the time and store rows.

#![warn(missing_docs)]

mod call;
mod contribution;
mod credentials;
mod dimension;
mod distribution;
mod errors;
mod event;
mod fact;
mod figures;
mod filter;
mod histogram;
mod ids;
mod label;
mod measure;
mod metric;
mod plan;
mod provider;
mod question;
mod refusal;
mod regrouping;
mod series;
mod tenant;
mod text;
mod time;
mod transition;
pub mod varint;
mod window;
mod workflow;

pub use call::{
    CALL_DURATION_MAX, CLOCK_SKEW_MAX, Call, CallFacts, CallFault, CallFields, CallStatus, ERRORS_PER_CALL_MAX,
    FUTURE_START_MAX, PROVIDERS_PER_CALL_MAX, SAMPLES_PER_CALL_MAX, TAGS_PER_CALL_MAX, TIMEOUT_END_REASON,
};
pub use contribution::{Contribution, Totals, totals_of};
pub use credentials::{
    Actor, ApiKey, KeyAction, NoPrincipal, Principal, RATE_MAX, RateFault, RateLimit, SUBJECT_MAX, Scope, Subject,
    Ticket,
};
pub use dimension::{Dimension, DimensionRow, Group, GroupId, GroupValue, Grouping, OTHER, ValuesMax};
pub use distribution::{Distribution, LatencyTotals};
pub use errors::{CallError, ErrorKind, Level, Service};
pub use event::{
    CallChange, CallEnd, CallEvent, EventError, EventId, EventKind, EventWorkflow, call_events, timeout_event,
};
pub use fact::{
    COST_MAX, COUNT_MAX, Direction, EndCategory, NumberFact, Numbers, Outcome, TOKENS_MAX, TextFact, TextRule,
    TextRuleFault, Texts, VERSION_MAX,
};
pub use figures::{
    Figures, FiguresRow, Folding, Loaded, LoadedDistribution, LoadedGroup, LoadedSums, ShownValue, WorkflowLabel, fold,
};
pub use filter::{Axis, AxisFault, CallFilter, Filter, Operator, Slugs, tag_of, text_of};
pub use histogram::{HistogramBytesFault, HistogramSum, LatencyHistogram};
pub use ids::{CallId, KeyId, TenantId, WorkflowId};
pub use label::{Label, LabelFault};
pub use measure::{Measure, Source, Subject as MeasureSubject, Sums};
pub use metric::{Formula, Metric, MetricRow, MetricValue, Unit};
pub use plan::{BucketRange, Resolution, WindowPlan};
pub use provider::{LATENCY_MAX_MS, Latency, Provider, ProviderType, ProviderUse};
pub use question::{Question, QuestionFault, ReadPlan, plan};
pub use refusal::Refusal;
pub use series::{
    Cell, Cut, HOURS_OF_WEEK, Interval, SERIES_BUCKETS_MAX, Series, SeriesFault, VolumeInterval, Zone, ZoneFault,
};
pub use tenant::{DISPLAY_NAME_MAX, DisplayName, Tenant};
pub use text::{
    AGENT_MAX, AGENT_VERSION_MAX, AgentName, END_REASON_MAX, ENVIRONMENT_MAX, EXTERNAL_ID_MAX, EndReason, ExternalId,
    LANGUAGE_MAX, MESSAGE_MAX, MODEL_MAX, Message, ModelName, PROVIDER_NAME_MAX, ProviderName, SLUG_MAX, Slug,
    SlugFault, TAG_VALUE_MAX, TagKey, TagValue, Text, TextFault, WORKFLOW_NAME_MAX, WorkflowName,
};
pub use time::{Span, Timestamp};
pub use transition::{Incoming, Transition, TransitionKind, transition};
pub use window::{Period, Window, WindowFault};
pub use workflow::Workflow;

/// A word that is not in an enumeration's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", .expected.join(", "))]
pub struct UnknownWord {
    /// The words that the enumeration knows, in their documented order.
    pub expected: &'static [&'static str],
}

/// Gives an enumeration its vocabulary: `WORDS`, `ALL`, `as_str` and `FromStr`, each word written once.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in documented order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// Every word, in the order of [`Self::ALL`].
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word for this value, on the wire and in storage.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownWord { expected: Self::WORDS }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;
