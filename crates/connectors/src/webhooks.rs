//! Webhooks of voice-AI platforms: one message's body into the report of a call.
//!
//! A message is read leniently: unknown fields are skipped, and a field of another type than expected is absent. Transcripts,
//! recordings, analyses and callers' numbers are skipped as they are parsed and never kept. Signatures are checked before,
//! by [`crate::signature`]; which tenant the message belongs to is left to the server.

#![expect(clippy::struct_field_names, reason = "fields have the names that the sources give them")]

mod bland;
mod bolna;
mod draft;
pub mod elevenlabs;
mod retell;
mod tap;
mod vapi;

use crate::json::NotAnObject;
use crate::mapping::EndOverrides;
use crate::report::CallReport;
use crate::signature::{HmacPlan, HmacScheme, Scheme};
use chrono::{DateTime, Utc};
use std::fmt;
use std::str::FromStr;

/// Bytes of a webhook's body, but for ElevenLabs's audio, which is read as a stream and discarded.
pub const WEBHOOK_BODY_MAX: usize = 16 << 20;

/// A platform that posts webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebhookProvider {
    /// Vapi.
    Vapi,
    /// Retell AI.
    Retell,
    /// ElevenLabs Agents.
    ElevenLabs,
    /// Bland AI.
    Bland,
    /// Bolna.
    Bolna,
    /// Tap Health's Agent Studio.
    Tap,
}

impl WebhookProvider {
    /// Every provider.
    pub const ALL: &'static [Self] = &[Self::Vapi, Self::Retell, Self::ElevenLabs, Self::Bland, Self::Bolna, Self::Tap];

    /// The word in the webhook's address, which is also the `source` of its calls.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vapi => "vapi",
            Self::Retell => "retell",
            Self::ElevenLabs => "elevenlabs",
            Self::Bland => "bland",
            Self::Bolna => "bolna",
            Self::Tap => "tap",
        }
    }

    /// How its messages are signed, if the connector has a secret; Vapi's by its default plan, which the user may change.
    /// `None` if it signs nothing.
    #[must_use]
    pub fn signature_scheme(self) -> Option<Scheme> {
        match self {
            Self::Vapi => HmacScheme::try_from(HmacPlan::default()).ok().map(Scheme::Hmac),
            Self::Retell => Some(Scheme::Retell),
            Self::ElevenLabs => Some(Scheme::ElevenLabs),
            Self::Bland => Some(Scheme::Bland),
            Self::Bolna => None,
            Self::Tap => Some(Scheme::Tap),
        }
    }
}

impl fmt::Display for WebhookProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word that names no provider of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown webhook provider.")]
pub struct UnknownProvider;

impl FromStr for WebhookProvider {
    type Err = UnknownProvider;

    fn from_str(word: &str) -> Result<Self, UnknownProvider> {
        Self::ALL.iter().copied().find(|provider| provider.as_str() == word).ok_or(UnknownProvider)
    }
}

/// The context that a message is read in.
#[derive(Clone, Copy, Debug)]
pub struct WebhookContext<'a> {
    /// When the message arrived: the start of a call that has no other time, and the bound of plausible times.
    pub received_at: DateTime<Utc>,
    /// The tenant's own categories of end reasons.
    pub overrides: &'a EndOverrides,
}

/// The result of reading a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// The state of a call.
    Call(Box<CallReport>),
    /// No state of a call. The message is answered like any other, so that the source does not repeat it.
    Ignored(Ignored),
}

/// Why a message is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Messages of this type are not about the state of a call.
    OtherMessage,
    /// The call has not begun: it is scheduled or queued.
    NotBegun,
    /// There was no call.
    NoCall,
    /// The platform expects an answer that callscope does not have: its server setting should not point here.
    ExpectsAnswer,
}

impl Ignored {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherMessage => "other_message",
            Self::NotBegun => "not_begun",
            Self::NoCall => "no_call",
            Self::ExpectsAnswer => "expects_answer",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OtherMessage => "Messages of this type are not about the state of a call.",
            Self::NotBegun => "The call has not begun.",
            Self::NoCall => "There was no call.",
            Self::ExpectsAnswer => "The message expects an answer that callscope does not have.",
        })
    }
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookFault {
    /// The body is not a JSON object.
    #[error("The body is not a JSON object.")]
    NotJson,
    /// A message about a call without the call's id, or with one that is no id.
    #[error("The message does not name its call.")]
    NoCallId,
}

impl From<NotAnObject> for WebhookFault {
    fn from(NotAnObject: NotAnObject) -> Self {
        Self::NotJson
    }
}

/// Reads one message of `provider`. `body` is as it was sent, unpacked.
pub fn parse(provider: WebhookProvider, body: &[u8], context: &WebhookContext<'_>) -> Result<Delivery, WebhookFault> {
    match provider {
        WebhookProvider::Vapi => vapi::parse(body, context),
        WebhookProvider::Retell => retell::parse(body, context),
        WebhookProvider::ElevenLabs => elevenlabs::parse(body, context),
        WebhookProvider::Bland => bland::parse(body, context),
        WebhookProvider::Bolna => bolna::parse(body, context),
        WebhookProvider::Tap => tap::parse(body, context),
    }
}
