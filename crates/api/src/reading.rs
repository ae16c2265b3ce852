//! How a record becomes a call: every fault is named, with the path of its field.

use crate::field::{FieldCode, FieldError, Rule, Violation};
use crate::json::{self, Object};
use crate::record::{CallRecord, ErrorRecord, ProviderRecord, WorkflowRecord};
use crate::words::timestamp;
use callscope_domain::{
    Call, CallError, CallFault, CallFields, CallId, CallStatus, ErrorKind, Latency, Level, Provider, ProviderName,
    ProviderType, ProviderUse, SAMPLES_PER_CALL_MAX, Service, Slug, TenantId, Text, Timestamp, Workflow, WorkflowId,
};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// Most bytes of an error's details, as JSON.
const DETAILS_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of an error's details.
const DETAILS_DEPTH_MAX: usize = 32;
/// Most faults that are named of one record.
const FAULTS_PER_RECORD_MAX: usize = 20;
/// Longest call id that is given back from a record that was refused.
const CALL_ID_ECHO_MAX: usize = 64;

/// A record that was understood.
#[derive(Debug)]
pub struct ParsedRecord {
    /// The call that it describes.
    pub call: Arc<Call>,
    /// Latencies that were none, and were dropped.
    pub dropped_samples: u64,
}

/// A record that was not.
#[derive(Debug)]
pub struct RefusedRecord {
    /// The call id that it gave, if it could be read.
    pub call_id: Option<String>,
    /// What is wrong with it; at least one.
    pub errors: Vec<FieldError>,
}

/// Reads one record of a tenant. `path_id` is the call that the path names, if it names one.
pub fn parse_record(
    json: &[u8],
    tenant: TenantId,
    path_id: Option<CallId>,
    received_at: Timestamp,
) -> Result<ParsedRecord, RefusedRecord> {
    let Object(record): Object<CallRecord<'_>> = serde_json::from_slice(json).map_err(|error| RefusedRecord {
        call_id: None,
        errors: vec![json::fault::<Object<CallRecord<'_>>>(json, &error)],
    })?;
    let call_id = record.call_id.as_deref().map(|id| id.chars().take(CALL_ID_ECHO_MAX).collect());
    let mut reader = Reader { tenant, received_at, faults: Vec::new(), dropped_samples: 0 };
    let call = reader.call(record, path_id);
    match call.filter(|_| reader.faults.is_empty()) {
        Some(call) => Ok(ParsedRecord { call: Arc::new(call), dropped_samples: reader.dropped_samples }),
        None => Err(RefusedRecord { call_id, errors: reader.faults }),
    }
}

/// Turns wire values into domain values, and notes every fault on the way.
struct Reader {
    tenant: TenantId,
    received_at: Timestamp,
    faults: Vec<FieldError>,
    dropped_samples: u64,
}

impl Reader {
    /// Notes a fault, unless there are many already: an answer has a bound too.
    fn fault(&mut self, field: impl Into<String>, violation: impl Violation) {
        if self.faults.len() == FAULTS_PER_RECORD_MAX {
            return;
        }
        self.faults.push(FieldError::new(field, violation));
    }

    /// The value of an optional field, if it is there and sound.
    fn optional<S: AsRef<str>, T, E: Violation>(
        &mut self,
        field: impl FnOnce() -> String,
        text: Option<S>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text?.as_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(field(), fault);
                None
            }
        }
    }

    /// The value of a required field, if it is sound.
    fn required<S: AsRef<str>, T, E: Violation>(
        &mut self,
        field: impl FnOnce() -> String,
        text: Option<S>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if text.is_none() {
            self.fault(field(), Rule::REQUIRED);
            return None;
        }
        self.optional(field, text, parse)
    }

    fn call(&mut self, record: CallRecord<'_>, path_id: Option<CallId>) -> Option<Call> {
        let id = self.call_id(record.call_id, path_id);
        let status = self.required(|| "status".into(), record.status, CallStatus::from_str);
        let started_at = self.required(|| "started_at".into(), record.started_at, timestamp);
        let ended_at_given = record.ended_at.is_some();
        let ended_at = self.optional(|| "ended_at".into(), record.ended_at, timestamp);
        let end_reason = self.optional(|| "end_reason".into(), record.end_reason, |text| Text::new(text));
        let workflow = record.workflow.and_then(|Object(workflow)| self.workflow(workflow));
        let agent = self.optional(|| "agent".into(), record.agent, |text| Text::new(text));
        let providers = record.providers.unwrap_or_default().0.into_iter().enumerate();
        let providers = providers.filter_map(|(index, Object(provider))| self.provider(index, provider)).collect();
        let errors: Vec<Option<CallError>> = record
            .errors
            .unwrap_or_default()
            .0
            .into_iter()
            .enumerate()
            .map(|(index, Object(error))| self.error(index, error))
            .collect();
        // Where a part is missing, the rules that join parts would only repeat what is said already.
        let sound_end = !ended_at_given || ended_at.is_some();
        let errors: Option<Vec<CallError>> = errors.into_iter().collect();
        let (Some(id), Some(status), Some(started_at), true, Some(errors)) =
            (id, status, started_at, sound_end, errors)
        else {
            return None;
        };
        let total_tokens = record.total_tokens.map_or(0, |json::Whole(tokens)| tokens);
        let fields = CallFields {
            id,
            status,
            started_at,
            ended_at,
            end_reason,
            workflow,
            agent,
            total_tokens,
            providers,
            errors,
        };
        match Call::accept(fields, self.received_at) {
            Ok(call) => Some(call),
            Err(faults) => {
                for fault in faults {
                    self.fault(field_of(fault), fault);
                }
                None
            }
        }
    }

    fn call_id(&mut self, text: Option<Cow<'_, str>>, path_id: Option<CallId>) -> Option<CallId> {
        let field = || "call_id".to_owned();
        let Some(path_id) = path_id else { return self.required(field, text, uuid).map(CallId) };
        let given = self.optional(field, text, uuid).map(CallId);
        if given.is_some_and(|given| given != path_id) {
            let rule = Rule::new(FieldCode::Inconsistent, "must be the call id of the path, or absent");
            self.fault("call_id", rule);
        }
        Some(path_id)
    }

    fn workflow(&mut self, record: WorkflowRecord<'_>) -> Option<Workflow> {
        let slug = self.required(|| "workflow.slug".into(), record.slug, |text| Slug::new(text));
        let name = self.optional(|| "workflow.name".into(), record.name, |text| Text::new(text));
        let id = self.optional(|| "workflow.id".into(), record.id, workflow_id);
        let slug = slug?;
        Some(Workflow { id: id.unwrap_or_else(|| Workflow::derived_id(self.tenant, &slug)), slug, name })
    }

    fn provider(&mut self, index: usize, record: ProviderRecord<'_>) -> Option<ProviderUse> {
        let field = |name: &str| format!("providers[{index}].{name}");
        let provider_type = self.required(|| field("provider_type"), record.provider_type, ProviderType::from_str);
        let provider_name =
            self.required(|| field("provider_name"), record.provider_name, |text| ProviderName::new(text));
        let given = record.latencies_ms.unwrap_or_default().0;
        if given.len() > SAMPLES_PER_CALL_MAX {
            let message = format!("must have at most {SAMPLES_PER_CALL_MAX} entries");
            self.fault(field("latencies_ms"), Rule::owned(FieldCode::TooMany, message));
            return None;
        }
        let latencies: Vec<Latency> = given.iter().filter_map(|latency| Latency::from_ms((*latency)?)).collect();
        self.dropped_samples += (given.len() - latencies.len()) as u64;
        Some(ProviderUse {
            provider: Provider { provider_type: provider_type?, provider_name: provider_name? },
            latencies,
        })
    }

    fn error(&mut self, index: usize, record: ErrorRecord<'_>) -> Option<CallError> {
        let field = |name: &str| format!("errors[{index}].{name}");
        let timestamp = self.required(|| field("timestamp"), record.timestamp, timestamp);
        let service = self.required(|| field("service"), record.service, Service::from_str);
        let level = self.required(|| field("level"), record.level, Level::from_str);
        let message = self.required(|| field("message"), record.message, |text| Text::new(text));
        let details = record.details.map(RawValue::get).filter(|text| *text != "null");
        let details = self.optional(|| field("details"), details, details_object);
        let agent = self.optional(|| field("agent"), record.agent, |text| Text::new(text));
        let kind = ErrorKind { service: service?, level: level? };
        Some(CallError { timestamp: timestamp?, kind, message: message?, details, agent })
    }
}

fn field_of(fault: CallFault) -> String {
    match fault {
        CallFault::EndMissing | CallFault::EndWhileActive | CallFault::EndBeforeStart | CallFault::TooLong => {
            "ended_at".to_owned()
        }
        CallFault::StartInFuture => "started_at".to_owned(),
        CallFault::TokensOutOfBounds => "total_tokens".to_owned(),
        CallFault::TooManyProviders | CallFault::TooManySamples => "providers".to_owned(),
        CallFault::TooManyErrors => "errors".to_owned(),
        CallFault::ErrorOutsideCall(position) => format!("errors[{position}].timestamp"),
    }
}

/// A UUID, in any of its usual spellings.
pub fn uuid(text: &str) -> Result<Uuid, Rule> {
    let rule = Rule::new(FieldCode::InvalidFormat, "must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09");
    Uuid::try_parse(text).map_err(|_| rule)
}

fn workflow_id(text: &str) -> Result<WorkflowId, Rule> {
    let id = uuid(text)?;
    // The nil id stands for the whole tenant in storage.
    let rule = Rule::new(FieldCode::OutOfRange, "must not be the nil UUID");
    if id.is_nil() { Err(rule) } else { Ok(WorkflowId(id)) }
}

fn details_object(json: &str) -> Result<Box<str>, Rule> {
    if !json.starts_with('{') {
        return Err(Rule::new(FieldCode::InvalidType, "must be a JSON object"));
    }
    if json.len() > DETAILS_BYTES_MAX {
        return Err(Rule::owned(FieldCode::TooLong, format!("must be at most {DETAILS_BYTES_MAX} bytes of JSON")));
    }
    if depth(json) > DETAILS_DEPTH_MAX {
        return Err(Rule::owned(FieldCode::TooLong, format!("must be nested at most {DETAILS_DEPTH_MAX} deep")));
    }
    // It is given back as it stands; what a strict reader chokes on would cost it the whole page of errors.
    if serde_json::from_str::<serde_json::Value>(json).is_err() {
        let message = "must not hold half a surrogate pair, nor a number past the range of 64-bit floats";
        return Err(Rule::new(FieldCode::InvalidFormat, message));
    }
    Ok(json.into())
}

/// The deepest nesting of valid JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
