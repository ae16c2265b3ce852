//! Bodies of the write endpoints: received within bounds, unpacked within bounds, cut into records.

use crate::field::{FieldCode, Rule};
use crate::json::{self, UpTo};
use crate::limits::ApiLimits;
use crate::metrics::Metrics;
use crate::problem::{Problem, ProblemCode};
use crate::transport::is_too_slow;
use crate::unpacking::{self, Packing, UnpackFault, UnpackLimits, took_too_long};
use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Buf, Bytes, BytesMut, Payload};
use callscope_analytics::shares::{Full, Share, Shares};
use callscope_domain::TenantId;
use futures_util::StreamExt;
use prometheus_client::metrics::counter::Counter;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the rest of a refused body is read and thrown away. Without that, a client that is still sending sees a
/// broken connection and not the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a body after which other requests of the same thread have their turn: a body that comes fast could keep a
/// question waiting until all of it is there.
const TURN_BYTES: usize = 64 << 10;
/// What a chunk costs beside its bytes, as bytes: a body may come in chunks of one.
const CHUNK_BYTES: usize = 256;

/// Some programs start a file with it; it says nothing, and is no JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Bytes of a tenant's bodies up to which they may use the reserve, and the most that are set aside for a body before
/// its bytes come.
const SMALL_BYTES: usize = 1 << 20;

/// How a body holds its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// JSON: an array of objects, or for a single record one object.
    Json,
    /// Protobuf, for telemetry.
    Protobuf,
}

/// The quota of bodies that are received or parsed, or whose records wait: places, and bytes.
pub struct BodyRoom {
    places: Arc<Shares>,
    bytes: Arc<Shares>,
    timeout: Duration,
    unpack_ratio_max: usize,
    refused: Counter,
}

impl BodyRoom {
    /// As much as the limits say. A tenant has a quarter of it, or one body of any size, and the last quarter is left to
    /// tenants with few bytes: those that announce bodies and never send them leave room for the others.
    pub fn new(limits: &ApiLimits, metrics: &Metrics) -> Self {
        let (places, bytes) = (limits.bodies_max, limits.inflight_bytes_max);
        let tenant_bytes = (bytes / 4).max(limits.body_bytes_max);
        // Not so much that one body of any size would not fit.
        let reserve = (bytes / 4).min(bytes.saturating_sub(tenant_bytes));
        Self {
            places: Shares::with_reserve(places, (places / 4).max(1), 1, places / 4),
            bytes: Shares::with_reserve(bytes, tenant_bytes, SMALL_BYTES.min(bytes / 16), reserve),
            timeout: limits.body_timeout,
            unpack_ratio_max: limits.unpack_ratio_max,
            refused: metrics.ingestion.bodies_refused.clone(),
        }
    }

    /// Bytes that are taken.
    pub fn bytes(&self) -> usize {
        self.bytes.held()
    }

    /// A place for a body, if as many bytes as it announces could be taken now. They are taken when they arrive, so that
    /// a client that does not send them keeps them from no one.
    fn take(&self, tenant: TenantId, announced: usize) -> Result<Room, Problem> {
        let place = self.places.take(tenant, 1).map_err(no_room)?;
        self.bytes.check(&tenant, announced).map_err(no_room)?;
        Ok(Room { _place: place, bytes: self.bytes.take(tenant, 0).map_err(no_room)? })
    }
}

/// What one body takes of the room.
pub struct Room {
    _place: Share,
    bytes: Share,
}

fn no_room(full: Full) -> Problem {
    let detail = match full {
        Full::OfHolder => "too many bodies of this tenant are being received; nothing was stored",
        Full::OfAll => "too many bodies are being received; nothing was stored",
    };
    Problem::new(ProblemCode::Overloaded, detail)
}

/// A body as it was received, with its room in memory.
pub struct Received {
    /// How it holds its records.
    pub format: Format,
    bytes: Bytes,
    packing: Packing,
    bytes_max: usize,
    ratio_max: usize,
    room: Room,
}

/// The media type of a body, one of `allowed`.
fn format(headers: &HeaderMap, allowed: &[Format]) -> Result<Format, Problem> {
    let value = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "application/json" => Some(Format::Json),
        "application/x-ndjson" | "application/ndjson" => Some(Format::Ndjson),
        "application/x-protobuf" | "application/protobuf" => Some(Format::Protobuf),
        _ => None,
    };
    format.filter(|format| allowed.contains(format)).ok_or_else(|| {
        let names: Vec<&str> = allowed.iter().map(|format| format.media_type()).collect();
        let detail = format!("Content-Type must be {}", names.join(" or "));
        Problem::new(ProblemCode::UnsupportedMediaType, detail)
    })
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    let value = headers.get(header::CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or_default());
    match value.trim().to_ascii_lowercase().as_str() {
        "identity" => Ok(Packing::Plain),
        "gzip" | "x-gzip" => Ok(Packing::Gzip),
        "deflate" => Ok(Packing::Deflate),
        "zstd" => Ok(Packing::Zstd),
        _ => Err(Problem::new(
            ProblemCode::UnsupportedMediaType,
            "Content-Encoding must be gzip, deflate, zstd or identity",
        )),
    }
}

/// What body an endpoint takes.
#[derive(Clone, Copy)]
pub struct Expected {
    /// Whose it is.
    pub tenant: TenantId,
    /// In which formats.
    pub formats: &'static [Format],
    /// Most bytes, as sent and after decompression.
    pub bytes_max: usize,
}

/// Receives a whole body. Refused bodies are drained, within bounds; but those that there
/// is no room for are answered at once, and the connection closed: whoever has too much to do does not read on.
pub async fn receive(
    room: &BodyRoom,
    request: &HttpRequest,
    mut payload: Payload,
    expected: Expected,
) -> Result<Received, Problem> {
    let timeout = room.timeout;
    let received = tokio::time::timeout(timeout, receive_within(room, request, &mut payload, expected)).await;
    match received {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(problem)) if problem.is_overload() => {
            room.refused.inc();
            Err(problem)
        }
        Ok(Err(problem)) => {
            drain(payload, expected.bytes_max).await;
            Err(problem)
        }
        Err(_) => Err(too_slow(timeout)),
    }
}

fn too_slow(timeout: Duration) -> Problem {
    let detail = format!("the body must arrive within {}", humantime::format_duration(timeout));
    Problem::new(ProblemCode::RequestTimeout, detail)
}

async fn receive_within(
    bodies: &BodyRoom,
    request: &HttpRequest,
    payload: &mut Payload,
    expected: Expected,
) -> Result<Received, Problem> {
    let Expected { tenant, formats, bytes_max } = expected;
    let format = format(request.headers(), formats)?;
    let packing = packing(request.headers())?;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let announced = announced.unwrap_or(0);
    let mut room = bodies.take(tenant, announced)?;
    let mut bytes = BytesMut::with_capacity(announced.min(SMALL_BYTES));
    let mut turn = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| cut_off(&error))?;
        let length = bytes.len() + chunk.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        room.bytes.grow_to(length).map_err(no_room)?;
        if length > bytes.capacity() && length < announced {
            bytes.reserve(announced - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
        turn += chunk.len() + CHUNK_BYTES;
        if turn >= TURN_BYTES {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    let ratio_max = bodies.unpack_ratio_max;
    Ok(Received { format, bytes: bytes.freeze(), packing, bytes_max, ratio_max, room })
}

async fn drain(mut payload: Payload, bytes_max: usize) {
    let mut drained = 0;
    let rest = async {
        while let Some(Ok(chunk)) = payload.next().await {
            drained += chunk.len();
            if drained > bytes_max {
                break;
            }
        }
    };
    // Whoever is not done by then sees a broken connection.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, rest).await;
}

impl Received {
    /// Bytes as sent.
    pub fn sent_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The unpacked bytes, at most `small` if they are to be only that many; else the body is given back. Blocks; what it
    /// takes of the processor is bounded.
    pub fn unpack(mut self, deadline: Instant, small: Option<usize>) -> Result<Result<Unpacked, Self>, Problem> {
        let bytes_max = small.map_or(self.bytes_max, |small| small.min(self.bytes_max));
        let limits = UnpackLimits { bytes_max, ratio_max: self.ratio_max, deadline };
        let mut unpacked = if self.packing == Packing::Plain {
            self.bytes
        } else {
            let bytes = &mut self.room.bytes;
            let grow = |unpacked: usize| bytes.grow_to(unpacked).map_err(no_room);
            match unpacking::unpack(&self.bytes, self.packing, limits, grow) {
                Ok(unpacked) => unpacked.into(),
                Err(UnpackFault::TooLarge) if bytes_max < self.bytes_max => return Ok(Err(self)),
                Err(fault) => return Err(fault.problem(self.packing, limits)),
            }
        };
        if unpacked.starts_with(BYTE_ORDER_MARK) {
            unpacked.advance(BYTE_ORDER_MARK.len());
        }
        Ok(Ok(Unpacked { format: self.format, bytes: unpacked, deadline, room: self.room }))
    }
}

/// A body's own bytes.
pub struct Unpacked {
    /// How they hold records.
    pub format: Format,
    /// The bytes.
    pub bytes: Bytes,
    /// When what is made of them must be done.
    pub deadline: Instant,
    /// Their room, to be kept for as long as what was made of them is in memory.
    pub room: Room,
}

/// Records after which a reader looks at the time.
const RECORDS_PER_LOOK: usize = 1024;

/// The records of a body, in order: each as its JSON.
pub fn records(body: &Unpacked, records_max: usize) -> Result<Vec<Cow<'_, [u8]>>, Problem> {
    let bytes: &[u8] = &body.bytes;
    let mut is_late = false;
    let records: Vec<Cow<'_, [u8]>> = match body.format {
        Format::Ndjson => bytes
            .split(|&byte| byte == b'\n')
            .enumerate()
            .take_while(|(number, _)| {
                is_late = number % RECORDS_PER_LOOK == 0 && Instant::now() >= body.deadline;
                !is_late
            })
            .map(|(_, line)| line.trim_ascii())
            .filter(|line| !line.is_empty())
            // One more than allowed is enough to know.
            .take(records_max + 1)
            .map(Cow::Borrowed)
            .collect(),
        // No endpoint takes records as protobuf.
        Format::Protobuf => Vec::new(),
        Format::Json if bytes.trim_ascii().is_empty() => Vec::new(),
        Format::Json => {
            array(bytes, records_max)?.into_iter().map(|record| Cow::Borrowed(record.get().as_bytes())).collect()
        }
    };
    if is_late {
        return Err(took_too_long());
    }
    if records.is_empty() {
        return Err(Problem::invalid_field("(body)", Rule::new(FieldCode::Empty, "must hold at least one record")));
    }
    if records.len() > records_max {
        let detail = format!("the body must hold at most {records_max} records; split it");
        return Err(Problem::new(ProblemCode::PayloadTooLarge, detail));
    }
    Ok(records)
}

fn array(bytes: &[u8], records_max: usize) -> Result<Vec<&RawValue>, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut records = Vec::new();
    let read = UpTo { max: records_max, elements: &mut records }.deserialize(&mut reader);
    if records.len() > records_max {
        // What comes after them was not read.
        return Ok(records);
    }
    read.and_then(|()| reader.end()).map_err(|error| {
        if error.is_data() {
            Problem::invalid_field(
                "(body)",
                Rule::new(
                    FieldCode::InvalidType,
                    "must be a JSON array of records; to send one record a line, set Content-Type to \
                     application/x-ndjson",
                ),
            )
        } else {
            Problem::new(ProblemCode::MalformedRequest, format!("the body is not valid JSON: {}", json::syntax(&error)))
        }
    })?;
    Ok(records)
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body must be at most {bytes_max} bytes, as sent and after decompression; split it");
    Problem::new(ProblemCode::PayloadTooLarge, detail)
}

fn cut_off(error: &PayloadError) -> Problem {
    if is_too_slow(error) {
        Problem::new(ProblemCode::RequestTimeout, "the body arrives too slowly")
    } else {
        malformed("the body was cut off")
    }
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::MalformedRequest, detail)
}
