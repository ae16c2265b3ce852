//! What a record may say of a call in one whole number or in one short text. One row of a table below is one such fact:
//! records, storage and answers go over the rows.

use crate::UnknownWord;
use crate::text::{
    AGENT_MAX, AGENT_VERSION_MAX, END_REASON_MAX, ENVIRONMENT_MAX, EXTERNAL_ID_MAX, LANGUAGE_MAX, Slug, SlugFault,
    TextFault, check_text,
};
use crate::words;

/// Most tokens of one call; a sum of them over 9 * 10^9 calls fits 64 bits.
pub const TOKENS_MAX: i64 = 1_000_000_000;
/// Most turns, interruptions or calls of tools of one call.
pub const COUNT_MAX: i64 = 100_000;
/// Highest cost of one call, in millionths of a US dollar: a million dollars.
pub const COST_MAX: i64 = 1_000_000_000_000;
/// Highest version of a record: as much as every JSON parser reads exactly.
pub const VERSION_MAX: i64 = (1 << 53) - 1;

/// Makes the enumeration of numbers: each row is a variant, its field in the record, its code in storage, which never
/// changes, and its largest value.
macro_rules! numbers {
    ($($variant:ident = $field:literal, $code:literal, $max:expr, $description:literal;)+) => {
        /// A whole number, not negative, that a record may give of a call. The word is the field of the record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum NumberFact {
            $(#[doc = $description] $variant),+
        }

        words!(NumberFact { $($variant = $field),+ });

        impl NumberFact {
            /// The number that stands for it in storage.
            #[must_use]
            pub const fn code(self) -> u64 {
                match self { $(Self::$variant => $code),+ }
            }

            /// Its largest value.
            #[must_use]
            pub const fn upper_bound(self) -> i64 {
                match self { $(Self::$variant => $max),+ }
            }
        }
    };
}

numbers! {
    TotalTokens       = "total_tokens",        1, TOKENS_MAX,  "Tokens that language models used.";
    InputTokens       = "input_tokens",        2, TOKENS_MAX,  "Those of them that went in.";
    OutputTokens      = "output_tokens",       3, TOKENS_MAX,  "Those of them that came out.";
    CachedInputTokens = "cached_input_tokens", 4, TOKENS_MAX,  "Those that went in and were read from a cache.";
    CostMicrousd      = "cost_usd",            5, COST_MAX,    "What the call cost, in millionths of a US dollar.";
    Turns             = "turns",               6, COUNT_MAX,   "Turns of the agent.";
    Interruptions     = "interruptions",       7, COUNT_MAX,   "How often the caller interrupted the agent.";
    ToolCalls         = "tool_calls",          8, COUNT_MAX,   "Tools that the agent called.";
    Version           = "version",             9, VERSION_MAX, "Orders the records of a call: a lower one is ignored.";
}

impl NumberFact {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// The numbers that are known of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers([Option<i64>; NumberFact::COUNT]);

impl Numbers {
    /// A number; none when it is unknown.
    #[must_use]
    pub const fn get(&self, fact: NumberFact) -> Option<i64> {
        self.0[fact as usize]
    }

    /// Sets a number.
    pub const fn set(&mut self, fact: NumberFact, value: Option<i64>) {
        self.0[fact as usize] = value;
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = (NumberFact, i64)> {
        NumberFact::ALL.iter().copied().zip(self.0).filter_map(|(fact, value)| Some((fact, value?)))
    }
}

/// Which way a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The caller called the agent.
    Inbound,
    /// The agent placed the call.
    Outbound,
    /// From a browser or an app.
    Web,
}

words!(Direction { Inbound = "inbound", Outbound = "outbound", Web = "web" });

/// Whether a call reached what it was for, which is another thing than ending well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Success,
    /// It did not.
    Failure,
    /// The source cannot tell.
    Unknown,
}

words!(Outcome { Success = "success", Failure = "failure", Unknown = "unknown" });

/// Why a call ended, in one vocabulary for all sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum EndCategory {
    CallerHangup,
    AgentHangup,
    TaskCompleted,
    Transferred,
    Voicemail,
    Silence,
    MaxDuration,
    Shutdown,
    NoAnswer,
    Busy,
    Declined,
    Unreachable,
    Canceled,
    Blocked,
    Limit,
    ProviderError,
    AgentError,
    PlatformError,
    TelephonyError,
    Timeout,
    Lost,
    Unknown,
}

words!(EndCategory {
    CallerHangup = "caller_hangup",
    AgentHangup = "agent_hangup",
    TaskCompleted = "task_completed",
    Transferred = "transferred",
    Voicemail = "voicemail",
    Silence = "silence",
    MaxDuration = "max_duration",
    Shutdown = "shutdown",
    NoAnswer = "no_answer",
    Busy = "busy",
    Declined = "declined",
    Unreachable = "unreachable",
    Canceled = "canceled",
    Blocked = "blocked",
    Limit = "limit",
    ProviderError = "provider_error",
    AgentError = "agent_error",
    PlatformError = "platform_error",
    TelephonyError = "telephony_error",
    Timeout = "timeout",
    Lost = "lost",
    Unknown = "unknown",
});

/// What a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRule {
    /// Any text of at most so many characters.
    Free(usize),
    /// A slug.
    Slug,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// Why a text is not sound; each says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRuleFault {
    /// It does not keep the bounds.
    #[error(transparent)]
    Text(#[from] TextFault),
    /// It is no slug.
    #[error(transparent)]
    Slug(#[from] SlugFault),
    /// It is none of the words.
    #[error(transparent)]
    Word(#[from] UnknownWord),
}

/// Makes the enumeration of texts: each row is a variant, its field in the record, which is its column too, and its rule.
macro_rules! texts {
    ($($variant:ident = $field:literal, $rule:expr, $description:literal;)+) => {
        /// A short text that a record may give of a call. The word is the field of the record and the column.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum TextFact {
            $(#[doc = $description] $variant),+
        }

        words!(TextFact { $($variant = $field),+ });

        impl TextFact {
            /// What it may be.
            #[must_use]
            pub const fn rule(self) -> TextRule {
                match self { $(Self::$variant => $rule),+ }
            }
        }
    };
}

use TextRule::{Free, Words};

texts! {
    EndReason    = "end_reason",    Free(END_REASON_MAX),      "Why the call ended, in the client's words.";
    EndCategory  = "end_category",  Words(EndCategory::WORDS), "Why the call ended, in one vocabulary for all sources.";
    Outcome      = "outcome",       Words(Outcome::WORDS),     "Whether the call reached what it was for.";
    Agent        = "agent",         Free(AGENT_MAX),           "The agent that ran the call.";
    AgentVersion = "agent_version", Free(AGENT_VERSION_MAX),   "The version of that agent.";
    Environment  = "environment",   Free(ENVIRONMENT_MAX),     "Where the agent runs, such as production or test.";
    Direction    = "direction",     Words(Direction::WORDS),   "Which way the call went.";
    Language     = "language",      Free(LANGUAGE_MAX),        "The language of the call, such as en-US.";
    Source       = "source",        TextRule::Slug,            "The system that the call comes from.";
    ExternalId   = "external_id",   Free(EXTERNAL_ID_MAX),     "The id of the call in that system.";
}

impl TextFact {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Checks a text by the rule of the fact.
    pub fn check(self, text: &str) -> Result<Box<str>, TextRuleFault> {
        match self.rule() {
            TextRule::Free(max) => check_text(text, max)?,
            TextRule::Slug => {
                Slug::new(text)?;
            }
            TextRule::Words(words) => {
                if !words.contains(&text) {
                    return Err(UnknownWord { expected: words }.into());
                }
            }
        }
        Ok(text.into())
    }
}

/// The texts that are known of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts([Option<Box<str>>; TextFact::COUNT]);

impl Texts {
    /// A text; none when it is unknown.
    #[must_use]
    pub fn get(&self, fact: TextFact) -> Option<&str> {
        self.0[fact as usize].as_deref()
    }

    /// Sets a text that keeps the rule of the fact, or is the group `(other)`.
    pub fn set(&mut self, fact: TextFact, text: Option<Box<str>>) {
        self.0[fact as usize] = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_of_numbers_are_distinct() {
        let codes: BTreeSet<u64> = NumberFact::ALL.iter().map(|fact| fact.code()).collect();
        assert_eq!(codes.len(), NumberFact::COUNT);
    }

    #[test]
    fn each_text_keeps_its_rule() {
        assert!(TextFact::Agent.check(&"é".repeat(AGENT_MAX)).is_ok());
        let fault = TextRuleFault::from(TextFault::TooLong { max: AGENT_MAX });
        assert_eq!(TextFact::Agent.check(&"é".repeat(AGENT_MAX + 1)), Err(fault));
        assert_eq!(TextFact::Language.check("a\0"), Err(TextFault::ContainsNul.into()));
        assert_eq!(TextFact::Environment.check(""), Err(TextFault::Empty.into()));
        assert_eq!(TextFact::Source.check("Live Kit"), Err(SlugFault.into()));
        assert_eq!(TextFact::Direction.check("up"), Err(UnknownWord { expected: Direction::WORDS }.into()));
        assert_eq!(TextFact::Direction.check("web").as_deref(), Ok("web"));
    }
}
