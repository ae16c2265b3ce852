//! How a record becomes a call: every fault is named, with the path of its field.

use crate::field::{FieldCode, FieldError, Rule, Violation};
use crate::json;
use crate::object::Object;
use crate::record::{CallRecord, ErrorRecord, ProviderRecord, WorkflowRecord};
use crate::words::timestamp;
use callscope_domain::{
    Call, CallError, CallFault, CallFields, CallId, CallStatus, ErrorKind, ExternalId, Latency, Level, NumberFact,
    Numbers, Provider, ProviderName, ProviderType, ProviderUse, SAMPLES_PER_CALL_MAX, SLUG_MAX, Service, Slug, TagKey,
    TagValue, TenantId, Text, TextFact, Texts, Timestamp, Workflow, WorkflowId,
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
/// Most faults that are named of one record or batch.
const FAULTS_PER_RECORD_MAX: usize = 20;
/// Most unknown fields that are named of one record or batch.
pub const IGNORED_FIELDS_MAX: usize = 50;
/// Longest call id that is given back from a record that was refused.
const CALL_ID_ECHO_MAX: usize = 64;

/// A record that was understood.
#[derive(Debug)]
pub struct ParsedRecord {
    /// The call that it describes.
    pub call: Arc<Call>,
    /// Latencies that were none, and were dropped.
    pub dropped_samples: u64,
    /// Paths of unknown fields, each once, such as `providers[].region`.
    pub ignored_fields: Vec<String>,
}

/// A record that was not.
#[derive(Debug)]
pub struct RefusedRecord {
    /// The call id that it gave, if it could be read.
    pub call_id: Option<String>,
    /// What is wrong with it; at least one.
    pub errors: Vec<FieldError>,
}

/// Where a record comes from, and how strictly it is read.
#[derive(Clone, Copy, Debug)]
pub struct RecordContext {
    /// The tenant of the call.
    pub tenant: TenantId,
    /// The call that the path names, if it names one.
    pub path_id: Option<CallId>,
    /// When the record arrived.
    pub received_at: Timestamp,
    /// Whether unknown fields are refused. Otherwise they are ignored and named.
    pub strict: bool,
}

/// Reads one record.
pub fn parse_record(json: &[u8], context: RecordContext) -> Result<ParsedRecord, RefusedRecord> {
    let record: Object<CallRecord<'_>> = serde_json::from_slice(json).map_err(|error| RefusedRecord {
        call_id: None,
        errors: vec![json::fault::<Object<CallRecord<'_>>>(json, &error)],
    })?;
    let call_id = record.value.call_id.as_deref().map(|id| id.chars().take(CALL_ID_ECHO_MAX).collect());
    let mut reader = Reader { context, faults: Vec::new(), dropped_samples: 0, ignored_fields: Vec::new() };
    let call = reader.call(record);
    let Reader { faults, dropped_samples, ignored_fields, .. } = reader;
    match call.filter(|_| faults.is_empty()) {
        Some(call) => Ok(ParsedRecord { call: Arc::new(call), dropped_samples, ignored_fields }),
        None => Err(RefusedRecord { call_id, errors: faults }),
    }
}

/// Turns wire values into domain values, and notes every fault on the way.
struct Reader {
    context: RecordContext,
    faults: Vec<FieldError>,
    dropped_samples: u64,
    ignored_fields: Vec<String>,
}

impl Reader {
    /// Notes a fault, unless there are many already: an answer has a bound too.
    fn fault(&mut self, field: impl Into<String>, violation: impl Violation) {
        if self.faults.len() == FAULTS_PER_RECORD_MAX {
            return;
        }
        self.faults.push(FieldError::new(field, violation));
    }

    /// The known fields of an object at a path, given with the index of its list. Unknown fields are named; of a list
    /// once, for all of its entries.
    fn known<T>(&mut self, object: Object<T>, path: &'static str, index: Option<usize>) -> T {
        let Object { value, unknown, known } = object;
        for name in unknown {
            match (self.context.strict, path, index) {
                (true, "", _) => self.fault(name, Rule::unknown(known)),
                (true, path, None) => self.fault(format!("{path}.{name}"), Rule::unknown(known)),
                (true, path, Some(index)) => self.fault(format!("{path}[{index}].{name}"), Rule::unknown(known)),
                (false, "", _) => self.ignore(name.into()),
                (false, path, None) => self.ignore(format!("{path}.{name}")),
                (false, path, Some(_)) => self.ignore(format!("{path}[].{name}")),
            }
        }
        value
    }

    fn ignore(&mut self, field: String) {
        if self.ignored_fields.len() < IGNORED_FIELDS_MAX && !self.ignored_fields.contains(&field) {
            self.ignored_fields.push(field);
        }
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

    fn call(&mut self, record: Object<CallRecord<'_>>) -> Option<Call> {
        let record = self.known(record, "", None);
        let (source, external_id) = (record.source.clone(), record.external_id.clone());
        let id = self.call_id(record.call_id, record.source, record.external_id);
        let status = self.required(|| "status".into(), record.status, CallStatus::from_str);
        let started_at = self.required(|| "started_at".into(), record.started_at, timestamp);
        let ended_at_given = record.ended_at.is_some();
        let ended_at = self.optional(|| "ended_at".into(), record.ended_at, timestamp);
        let workflow = record.workflow.and_then(|workflow| self.workflow(workflow));
        let mut texts = Texts::default();
        for (fact, text) in [
            (TextFact::EndReason, record.end_reason),
            (TextFact::EndCategory, record.end_category),
            (TextFact::Outcome, record.outcome),
            (TextFact::Agent, record.agent),
            (TextFact::AgentVersion, record.agent_version),
            (TextFact::Environment, record.environment),
            (TextFact::Direction, record.direction),
            (TextFact::Language, record.language),
        ] {
            texts.set(fact, self.optional(|| fact.to_string(), text, |text| fact.check(text)));
        }
        // They were looked at when they made the id.
        for (fact, text) in [(TextFact::Source, source), (TextFact::ExternalId, external_id)] {
            texts.set(fact, text.and_then(|text| fact.check(&text).ok()));
        }
        let mut numbers = Numbers::default();
        for (fact, number) in [
            (NumberFact::TotalTokens, record.total_tokens),
            (NumberFact::InputTokens, record.input_tokens),
            (NumberFact::OutputTokens, record.output_tokens),
            (NumberFact::CachedInputTokens, record.cached_input_tokens),
            (NumberFact::Turns, record.turns),
            (NumberFact::Interruptions, record.interruptions),
            (NumberFact::ToolCalls, record.tool_calls),
            (NumberFact::Version, record.version),
        ] {
            numbers.set(fact, number.map(|json::Whole(number)| number));
        }
        numbers.set(NumberFact::CostMicrousd, record.cost_usd.map(microusd));
        let tags = record.tags.map_or_else(Vec::new, |json::Tags(tags)| self.tags(tags));
        let turn_latencies = self.latencies(|| "turn_latencies_ms".into(), record.turn_latencies_ms)?;
        let providers = record.providers.unwrap_or_default().0.into_iter().enumerate();
        let providers = providers.filter_map(|(index, provider)| self.provider(index, provider)).collect();
        let errors: Vec<Option<CallError>> = record
            .errors
            .unwrap_or_default()
            .0
            .into_iter()
            .enumerate()
            .map(|(index, error)| self.error(index, error))
            .collect();
        // Where a part is missing, the rules that join parts would only repeat what is said already.
        let sound_end = !ended_at_given || ended_at.is_some();
        let errors: Option<Vec<CallError>> = errors.into_iter().collect();
        let (Some(id), Some(status), Some(started_at), true, Some(errors)) =
            (id, status, started_at, sound_end, errors)
        else {
            return None;
        };
        let fields = CallFields {
            id,
            status,
            started_at,
            ended_at,
            workflow,
            texts,
            numbers,
            tags,
            turn_latencies,
            providers,
            errors,
        };
        match Call::accept(fields, self.context.received_at) {
            Ok(call) => Some(call),
            Err(faults) => {
                for fault in faults {
                    self.fault(field_of(fault), fault);
                }
                None
            }
        }
    }

    /// The id that the path or the record gives, or the one that the record's source and external id make.
    fn call_id(
        &mut self,
        text: Option<Cow<'_, str>>,
        source: Option<Cow<'_, str>>,
        external_id: Option<Cow<'_, str>>,
    ) -> Option<CallId> {
        let has_given = text.is_some();
        let given = self.optional(|| "call_id".to_owned(), text, call_id).map(CallId);
        let is_half_external = source.is_some() != external_id.is_some();
        let has_external = source.is_some() && external_id.is_some();
        let missing = if source.is_some() { "external_id" } else { "source" };
        let source = self.optional(|| "source".to_owned(), source, |text| Slug::new(text));
        let external_id = self.optional(|| "external_id".to_owned(), external_id, |text| ExternalId::new(text));
        if let Some(path_id) = self.context.path_id {
            if given.is_some_and(|given| given != path_id) {
                let rule = Rule::new(FieldCode::Inconsistent, "must be the call id of the path, or absent");
                self.fault("call_id", rule);
            }
            return Some(path_id);
        }
        if has_given {
            return given;
        }
        if is_half_external {
            self.fault(missing, Rule::new(FieldCode::Required, "is required: source and external_id make the call id"));
        } else if !has_external {
            self.fault(
                "call_id",
                Rule::new(FieldCode::Required, "is required, unless source and external_id are given"),
            );
        }
        Some(CallId::derived(self.context.tenant, &source?, &external_id?))
    }

    fn workflow(&mut self, record: Object<WorkflowRecord<'_>>) -> Option<Workflow> {
        let record = self.known(record, "workflow", None);
        let slug = self.required(|| "workflow.slug".into(), record.slug, |text| Slug::new(text));
        let name = self.optional(|| "workflow.name".into(), record.name, |text| Text::new(text));
        let id = self.optional(|| "workflow.id".into(), record.id, workflow_id);
        let slug = slug?;
        Some(Workflow { id: id.unwrap_or_else(|| Workflow::derived_id(self.context.tenant, &slug)), slug, name })
    }

    fn provider(&mut self, index: usize, record: Object<ProviderRecord<'_>>) -> Option<ProviderUse> {
        let record = self.known(record, "providers", Some(index));
        let field = |name: &str| format!("providers[{index}].{name}");
        let provider_type = self.required(|| field("provider_type"), record.provider_type, ProviderType::from_str);
        let provider_name =
            self.required(|| field("provider_name"), record.provider_name, |text| ProviderName::new(text));
        let model = self.optional(|| field("model"), record.model, |text| Text::new(text));
        let latencies = self.latencies(|| field("latencies_ms"), record.latencies_ms)?;
        let provider = Provider { provider_type: provider_type?, provider_name: provider_name? };
        Some(ProviderUse { provider, model, latencies })
    }

    /// The latencies of a list; what is none is dropped and counted.
    fn latencies(
        &mut self,
        field: impl FnOnce() -> String,
        given: Option<json::Bounded<Option<f64>, SAMPLES_PER_CALL_MAX>>,
    ) -> Option<Vec<Latency>> {
        let given = given.unwrap_or_default().0;
        if given.len() > SAMPLES_PER_CALL_MAX {
            let message = format!("must have at most {SAMPLES_PER_CALL_MAX} entries");
            self.fault(field(), Rule::owned(FieldCode::TooMany, message));
            return None;
        }
        let latencies: Vec<Latency> = given.iter().filter_map(|latency| Latency::from_ms((*latency)?)).collect();
        self.dropped_samples += (given.len() - latencies.len()) as u64;
        Some(latencies)
    }

    fn tags(&mut self, given: Vec<(Cow<'_, str>, Cow<'_, str>)>) -> Vec<(TagKey, TagValue)> {
        let mut tags: Vec<(TagKey, TagValue)> = Vec::with_capacity(given.len());
        for (key, value) in given {
            let name: String = key.chars().take(SLUG_MAX).collect();
            let key = match TagKey::new(&*key) {
                Ok(key) => key,
                Err(fault) => {
                    self.fault("tags", Rule::owned(FieldCode::InvalidFormat, format!("has a key that {fault}")));
                    continue;
                }
            };
            if tags.iter().any(|(known, _)| *known == key) {
                self.fault(format!("tags.{name}"), Rule::TWICE);
                continue;
            }
            let value = self.optional(|| format!("tags.{name}"), Some(value), |text| TagValue::new(text));
            tags.extend(value.map(|value| (key, value)));
        }
        tags
    }

    fn error(&mut self, index: usize, record: Object<ErrorRecord<'_>>) -> Option<CallError> {
        let record = self.known(record, "errors", Some(index));
        let field = |name: &str| format!("errors[{index}].{name}");
        let timestamp = self.required(|| field("timestamp"), record.timestamp, timestamp);
        let service = self.required(|| field("service"), record.service, Service::from_str);
        let level = self.required(|| field("level"), record.level, Level::from_str);
        let message = self.required(|| field("message"), record.message, |text| Text::new(text));
        let details = record.details.map(RawValue::get).filter(|text| *text != "null");
        let details = self.optional(|| field("details"), details, details_object);
        let agent = self.optional(|| field("agent"), record.agent, |text| Text::new(text));
        let provider_name = self.optional(|| field("provider_name"), record.provider_name, |text| Text::new(text));
        let kind = ErrorKind { service: service?, level: level? };
        Some(CallError { timestamp: timestamp?, kind, message: message?, details, agent, provider_name })
    }
}

fn field_of(fault: CallFault) -> String {
    match fault {
        CallFault::EndMissing | CallFault::EndWhileActive | CallFault::EndBeforeStart | CallFault::TooLong => {
            "ended_at".to_owned()
        }
        CallFault::StartInFuture => "started_at".to_owned(),
        CallFault::NumberOutOfBounds(fact) => fact.to_string(),
        CallFault::TooManyTags => "tags".to_owned(),
        CallFault::TooManyProviders | CallFault::TooManySamples => "providers".to_owned(),
        CallFault::TooManyErrors | CallFault::ErrorsTooLong => "errors".to_owned(),
        CallFault::ErrorOutsideCall(position) => format!("errors[{position}].timestamp"),
    }
}

/// A cost in millionths of a dollar; what no number of them can be is out of every bound.
fn microusd(dollars: f64) -> i64 {
    let microusd = (dollars * 1e6).round();
    #[expect(clippy::cast_possible_truncation, reason = "the bounds are checked, and the cast keeps within them")]
    let whole = microusd as i64;
    whole
}

/// A UUID, in any of its usual spellings.
pub fn uuid(text: &str) -> Result<Uuid, Rule> {
    let rule = Rule::new(FieldCode::InvalidFormat, "must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09");
    Uuid::try_parse(text).map_err(|_| rule)
}

fn call_id(text: &str) -> Result<Uuid, Rule> {
    let message = "must be a UUID such as 31c02e4f-12e0-4af0-869b-aab222503a09; for an id of another form, send source \
        and external_id instead";
    Uuid::try_parse(text).map_err(|_| Rule::new(FieldCode::InvalidFormat, message))
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
    // `details` is returned verbatim: JSON that strict parsers refuse would make a whole page of errors unreadable.
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
