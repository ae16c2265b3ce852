//! The closed vocabularies of a call record: each word is written once, here.

use serde::{Serialize, Serializer};

/// Declares an enum whose variants serialise as the words beside them.
macro_rules! wire_words {
    (
        $(#[$enum_doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$enum_doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

wire_words! {
    /// Where a call is in its life.
    CallStatus {
        /// In progress: it has no end yet.
        Active = "active",
        /// Over, and it did what it was for.
        Completed = "completed",
        /// Over, and it did not.
        Failed = "failed",
    }
}

wire_words! {
    /// Which way a call went.
    Direction {
        /// A person called the agent.
        Inbound = "inbound",
        /// The agent called a person.
        Outbound = "outbound",
        /// From a browser or an app.
        Web = "web",
    }
}

wire_words! {
    /// Whether a call reached its goal, which is not the same as its status.
    CallOutcome {
        /// It did.
        Success = "success",
        /// It did not.
        Failure = "failure",
        /// It is not known.
        Unknown = "unknown",
    }
}

wire_words! {
    /// Why a call ended, in the server's vocabulary; the generator uses only these words of it.
    EndCategory {
        /// The caller hung up.
        CallerHangup = "caller_hangup",
        /// The agent hung up.
        AgentHangup = "agent_hangup",
        /// The agent hung up because its task was done.
        TaskCompleted = "task_completed",
        /// The call went on with a person.
        Transferred = "transferred",
        /// A machine answered.
        Voicemail = "voicemail",
        /// The caller said nothing any more.
        Silence = "silence",
        /// The callee did not pick up.
        NoAnswer = "no_answer",
        /// The line was busy.
        Busy = "busy",
        /// The callee refused the call.
        Declined = "declined",
        /// The callee could not be reached.
        Unreachable = "unreachable",
        /// A provider of a stage failed.
        ProviderError = "provider_error",
        /// The agent's workflow or one of its tools failed.
        AgentError = "agent_error",
        /// The line failed.
        TelephonyError = "telephony_error",
    }
}

wire_words! {
    /// The stage of a turn that a provider works for, in the order in which a turn passes them.
    ProviderType {
        /// Speech to text.
        Stt = "stt",
        /// The language model.
        Llm = "llm",
        /// Text to speech.
        Tts = "tts",
    }
}

wire_words! {
    /// The part of a call that an error comes from.
    ErrorService {
        /// Speech to text.
        Stt = "stt",
        /// The language model.
        Llm = "llm",
        /// Text to speech.
        Tts = "tts",
        /// The flow that the call runs through.
        Workflow = "workflow",
        /// A function that the language model called.
        Tool = "tool",
    }
}

wire_words! {
    /// How bad an error is.
    ErrorLevel {
        /// The turn was lost, perhaps the call.
        Error = "error",
        /// The call went on.
        Warning = "warning",
    }
}

/// The environment of calls that test the agents.
pub(crate) const TEST: &str = "test";
