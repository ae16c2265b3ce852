//! What a stream of calls looks like as a whole: the knobs of a [`Generator`](crate::Generator).

/// The most workflows that a profile can ask for.
pub const WORKFLOWS_MAX: usize = 200;

/// The make-up of the generated calls. Rates are shares between 0 and 1; values past either bound count as the bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How many workflows the calls are spread over, busiest first: 1 to [`WORKFLOWS_MAX`], brought into that range
    /// when outside it. The first eight have names of their own; the rest are `workflow-009`, `workflow-010`, ….
    pub workflows: usize,
    /// The exact number of latency samples of every call, spread evenly over stt, llm and tts (18 gives 6 each; what
    /// is left over goes to the earlier stages). Then every call is answered and no provider has a stand-in.
    /// `None` lets the number of turns follow the call's length.
    pub samples_per_call: Option<usize>,
    /// The share of calls that end as `failed`, unanswered ones among them.
    pub failure_rate: f64,
    /// The share of unanswered calls among those that failed without an error: they end as they start, with
    /// no turns and no providers. Without effect when [`samples_per_call`](Self::samples_per_call) is set.
    pub unanswered_share: f64,
    /// The share of calls with one to three errors. Such calls fail more often than the rest.
    pub error_rate: f64,
    /// The share of calls that belong to no workflow.
    pub workflowless_rate: f64,
    /// For each stage of a call of two turns or more: how often a second provider takes over part of the way through.
    pub fallback_rate: f64,
    /// How much each record says.
    pub detail: Detail,
}

/// How much a record says. With the same seed, a plain record is the full one without the further fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Status, times, end reason, workflow, agent, total tokens, latencies and errors.
    Plain,
    /// Every field of [`CallRecord`](crate::CallRecord).
    #[default]
    Full,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            workflows: 8,
            samples_per_call: None,
            failure_rate: 0.08,
            unanswered_share: 0.55,
            error_rate: 0.07,
            workflowless_rate: 0.01,
            fallback_rate: 0.02,
            detail: Detail::Full,
        }
    }
}
