//! Errors that happened inside a call.

use crate::text::{AgentName, Message, ProviderName};
use crate::time::Timestamp;
use crate::words;
use std::fmt::{self, Display, Formatter};

/// Where in the pipeline an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Speech to text.
    Stt,
    /// Language model.
    Llm,
    /// Text to speech.
    Tts,
    /// The workflow engine.
    Workflow,
    /// A tool that the agent called.
    Tool,
}

words!(Service { Stt = "stt", Llm = "llm", Tts = "tts", Workflow = "workflow", Tool = "tool" });

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Critical: it affected the call.
    Error,
    /// Not critical.
    Warning,
}

words!(Level { Error = "error", Warning = "warning" });

/// What error figures are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorKind {
    /// Where it arose.
    pub service: Service,
    /// How bad it is.
    pub level: Level,
}

impl Display for ErrorKind {
    /// As the value of a group, such as `stt:error`.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.service, self.level)
    }
}

/// One error of a call. Its position is its index in the call's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// When it happened.
    pub timestamp: Timestamp,
    /// Service and level.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: Message,
    /// A JSON object in the client's own text; kept, never read.
    pub details: Option<Box<str>>,
    /// The agent in which it arose.
    pub agent: Option<AgentName>,
    /// The provider that it arose at.
    pub provider_name: Option<ProviderName>,
}

impl CallError {
    /// Bytes of its message and its details.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.message.as_str().len() + self.details.as_ref().map_or(0, |details| details.len())
    }
}
