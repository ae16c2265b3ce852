//! Facts: the data that is kept of one span, one log record or one session report. [`crate::extraction`] makes facts of
//! records, and [`crate::derivation`] makes a call's report of its facts.

use callscope_domain::{Level, ProviderType, Service, Slug};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Longest name of an agent, a job, a tool, a service or a reason, in characters.
pub const NAME_MAX: usize = 64;
/// Longest tag of a language, in characters.
pub const LANGUAGE_MAX: usize = 35;
/// Longest name of a provider as it was sent, or of a model, in characters.
pub const MODEL_MAX: usize = 128;

/// The framework whose telemetry a call is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Framework {
    /// LiveKit Agents.
    LiveKit,
    /// Pipecat.
    Pipecat,
}

impl Framework {
    /// The `source` of its calls.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::LiveKit => "livekit",
            Self::Pipecat => "pipecat",
        }
    }

    /// [`Framework::source`] as the type that call ids are made of.
    #[must_use]
    pub fn slug(self) -> Slug {
        Slug::new(self.source()).unwrap_or_else(|_| unreachable!("sources of this crate are slugs"))
    }
}

/// The key of a call's telemetry: LiveKit's room, or else the trace id in hex. It is computed from a single span, so
/// that every server computes the same key. The call's id is derived from both fields, as it is from
/// `source` and `external_id` of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssemblyKey {
    /// The framework.
    pub framework: Framework,
    /// The key; 1 to 256 characters.
    pub key: String,
}

/// Where an id comes from; ids of different origins are never the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A span of this trace.
    Trace([u8; 16]),
    /// A log record.
    Log,
    /// A session report.
    Report,
}

/// The identity of a fact: a second fact with the same id is a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactId {
    /// The trace, for spans.
    pub origin: Origin,
    /// The span's id, or the start of a hash.
    pub id: [u8; 8],
}

impl FactId {
    /// The id of a log record, which has none of its own.
    #[must_use]
    pub fn of_log(time_unix_nano: u64, scope: &str, body: &str, span_id: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(format!("{time_unix_nano}|{scope}|{body}|"));
        for byte in span_id {
            hash.update(format!("{byte:02x}"));
        }
        Self { origin: Origin::Log, id: first_bytes(hash) }
    }

    /// The id of the report of a job's session; a job reports once.
    #[must_use]
    pub fn of_report(job: &str) -> Self {
        Self { origin: Origin::Report, id: first_bytes(Sha256::new_with_prefix(job)) }
    }
}

fn first_bytes(hash: Sha256) -> [u8; 8] {
    let digest = hash.finalize();
    std::array::from_fn(|index| digest[index])
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Its identity.
    pub id: FactId,
    /// Microseconds since 1970.
    pub start_us: i64,
    /// Microseconds since 1970; not before the start.
    pub end_us: i64,
    /// Attributes that most facts of the call share.
    pub context: Arc<Context>,
    /// A latency that was measured.
    pub sample: Option<Sample>,
    /// Tokens that were used; they may be zero.
    pub tokens: Option<Tokens>,
    /// What happened.
    pub event: Event,
}

/// Attributes that most facts of one call share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    /// LiveKit's job.
    pub job: Option<Arc<str>>,
    /// The resource's `service.name`.
    pub service_name: Option<Arc<str>>,
    /// The workflow, by one of the configured attributes.
    pub workflow: Option<Arc<str>>,
    /// LiveKit's name of the agent's deployment.
    pub agent_name: Option<Arc<str>>,
    /// The resource's environment, such as `production`.
    pub environment: Option<Arc<str>>,
    /// The resource's `service.version`.
    pub agent_version: Option<Arc<str>>,
    /// The language of the STT.
    pub language: Option<Arc<str>>,
}

/// A provider and its model, as the source names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Model {
    /// The provider.
    pub provider: Option<Arc<str>>,
    /// The model.
    pub name: Option<Arc<str>>,
}

/// One latency of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The stage.
    pub stage: ProviderType,
    /// Whose latency it is.
    pub model: Arc<Model>,
    /// Microseconds, 1 to 600,000,000.
    pub latency_us: u32,
}

/// Tokens of language models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// The part of `input` that was read from a cache.
    pub cached_input: u64,
}

impl Tokens {
    /// The sums; they saturate.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cached_input: self.cached_input.saturating_add(other.cached_input),
        }
    }

    /// Read and written.
    #[must_use]
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// A message with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// 1 to 4,096 characters.
    pub message: Arc<str>,
}

/// Whose turn it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The user's.
    User,
    /// The agent's.
    Agent,
    /// The user's and the agent's answer, in one span.
    Both,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The whole session, or conversation: the root of a call.
    Session {
        /// The agent.
        agent: Option<Arc<str>>,
        /// The conversation's id at its source.
        external_id: Option<Arc<str>>,
    },
    /// The end of a session.
    SessionClose {
        /// Which session.
        session: Option<FactId>,
        /// Why it was closed.
        reason: Option<Arc<str>>,
        /// The type of the error that closed it, such as `stt_error`.
        error_type: Option<Arc<str>>,
    },
    /// A whole job of LiveKit.
    Job {
        /// Why it failed, if it did.
        failure: Option<Failure>,
    },
    /// The shutdown of a job.
    JobShutdown {
        /// Whether the job crashed.
        is_crash: bool,
    },
    /// A turn of the dialogue.
    Turn {
        /// Which session it is part of.
        session: Option<FactId>,
        /// Whose turn.
        speaker: Speaker,
        /// Its number in the conversation; 0 is unknown.
        number: u32,
        /// Whether the user interrupted it.
        is_interrupted: bool,
        /// From the end of the user's speech to the agent's first sound, in microseconds.
        latency_us: Option<u32>,
        /// The agent.
        agent: Option<Arc<str>>,
        /// The conversation's id at its source.
        external_id: Option<Arc<str>>,
    },
    /// A request to a provider, with all its attempts.
    Request {
        /// Whether it failed in the end.
        is_failed: bool,
    },
    /// A failed attempt of a request.
    Attempt {
        /// Which request.
        request: Option<FactId>,
        /// What failed.
        service: Service,
        /// The attempts before this one.
        retry: u32,
        /// Whose model failed.
        model: Option<Arc<Model>>,
        /// What went wrong.
        failure: Failure,
    },
    /// A call of a tool.
    Tool {
        /// The tool.
        name: Arc<str>,
        /// Whether it failed.
        is_failed: bool,
        /// The type of the error.
        error_type: Option<Arc<str>>,
    },
    /// An error that stands by itself.
    Problem {
        /// What failed.
        service: Service,
        /// How bad it is.
        level: Level,
        /// Whose model failed.
        model: Option<Arc<Model>>,
        /// What went wrong.
        failure: Failure,
    },
    /// A crash of a job, known from the log alone.
    Crash {
        /// What went wrong.
        failure: Failure,
    },
    /// No event: the fact has a sample, tokens, or only its times.
    Measurement,
    /// What LiveKit's agent reports at the end of a session.
    Report(Box<ReportedSession>),
}

/// What LiveKit's agent reports at the end of a session. The job is in the context, and the call's start and end are
/// the fact's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportedSession {
    /// Why the session was closed, in the words of [`Event::SessionClose`].
    pub close_reason: Option<Arc<str>>,
    /// Errors of STT, LLM and TTS, as counted by the agent.
    pub error_counts: [u32; 3],
    /// Tokens of all models.
    pub tokens: Tokens,
    /// The messages of the dialogue; at most [`REPORTED_TURNS_MAX`].
    pub turns: Vec<ReportedTurn>,
}

/// Most messages that are kept of a session report. A call keeps at most 10,000 samples.
pub const REPORTED_TURNS_MAX: usize = 10_000;

/// One message of a session report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportedTurn {
    /// Whether the user spoke.
    pub is_user: bool,
    /// Whether the user interrupted it.
    pub is_interrupted: bool,
    /// As of [`Event::Turn`].
    pub latency_us: Option<u32>,
    /// Latencies of the stages; at most one each.
    pub samples: Vec<Sample>,
}

/// Converts seconds to a latency in microseconds; none unless it is above 0 and at most 600 s.
#[must_use]
pub fn latency_us(seconds: f64) -> Option<u32> {
    callscope_domain::Latency::from_ms(seconds * 1000.0).map(callscope_domain::Latency::as_micros)
}

/// Cuts a text to `max` characters and removes NUL, which PostgreSQL cannot store; none if nothing is left.
#[must_use]
pub fn cut(text: &str, max: usize) -> Option<Arc<str>> {
    if text.is_empty() {
        return None;
    }
    if text.len() <= max && !text.as_bytes().contains(&0) {
        return Some(text.into());
    }
    let cut: String = text.chars().filter(|character| *character != '\0').take(max).collect();
    (!cut.is_empty()).then(|| cut.into())
}
