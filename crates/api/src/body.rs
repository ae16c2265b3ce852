//! Bodies of the write endpoints: received within bounds, unpacked within bounds, cut into records.

use crate::json::{self, BoundedList};
use crate::problem::{Problem, ProblemCode};
use crate::state::ApiState;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Buf, Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long the rest of a refused body is read and thrown away. Without that, a client that is still sending sees a
/// broken connection and not the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Some programs start a file with it; it says nothing, and is no JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Largest window of a Zstandard body, as a power of two: 64 MiB, which every level but --ultra and --long keeps to.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// How a body holds its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// JSON: an array of objects, or for a single record one object.
    Json,
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// It is not.
    Plain,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
}

/// What a body takes while it is received or parsed, or its records wait: a place, and as many bytes.
pub struct Room {
    _place: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

/// A body as it was received, with its room in memory.
pub struct Received {
    /// How it holds its records.
    pub format: Format,
    bytes: Bytes,
    packing: Packing,
    bytes_max: usize,
    inflight: Arc<Semaphore>,
    room: Room,
}

/// The media type of a body, one of `allowed`.
fn format(headers: &HeaderMap, allowed: &[Format]) -> Result<Format, Problem> {
    let value = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let format = match essence.as_str() {
        "application/json" => Some(Format::Json),
        "application/x-ndjson" | "application/ndjson" => Some(Format::Ndjson),
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
        }
    }
}

fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    let value = headers.get(header::CONTENT_ENCODING).map_or("identity", |value| value.to_str().unwrap_or_default());
    match value.trim().to_ascii_lowercase().as_str() {
        "identity" => Ok(Packing::Plain),
        "gzip" | "x-gzip" => Ok(Packing::Gzip),
        "zstd" => Ok(Packing::Zstd),
        _ => Err(Problem::new(ProblemCode::UnsupportedMediaType, "Content-Encoding must be gzip, zstd or identity")),
    }
}

/// Receives a whole body of one of the `allowed` formats. Refused bodies are drained, within bounds; but those that there
/// is no room for are answered at once, and the connection closed: whoever has too much to do does not read on.
pub async fn receive(
    state: &ApiState,
    request: &HttpRequest,
    mut payload: Payload,
    allowed: &[Format],
) -> Result<Received, Problem> {
    let timeout = state.limits.body_timeout;
    let received = tokio::time::timeout(timeout, receive_within(state, request, &mut payload, allowed)).await;
    match received {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(problem)) if problem.is_overload() => {
            state.metrics.ingestion.bodies_refused.inc();
            Err(problem)
        }
        Ok(Err(problem)) => {
            drain(payload, state.limits.body_bytes_max).await;
            Err(problem)
        }
        Err(_) => Err(too_slow(timeout)),
    }
}

/// Shortest way to say what is configured unless someone wants it otherwise.
const A_MINUTE: Duration = Duration::from_mins(1);

fn too_slow(timeout: Duration) -> Problem {
    let within = match timeout {
        A_MINUTE => "a minute".to_owned(),
        other => format!("{} s", other.as_secs_f64()),
    };
    Problem::new(ProblemCode::RequestTimeout, format!("the body must arrive within {within}"))
}

async fn receive_within(
    state: &ApiState,
    request: &HttpRequest,
    payload: &mut Payload,
    allowed: &[Format],
) -> Result<Received, Problem> {
    let format = format(request.headers(), allowed)?;
    let packing = packing(request.headers())?;
    let bytes_max = state.limits.body_bytes_max;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    // All of the room at once, where the size is known: bodies that each have a part of it would wait for one another.
    let mut taken = announced.unwrap_or(0);
    let place = take_room(&state.bodies, 1)?;
    let mut room = Room { _place: place, bytes: take_room(&state.inflight, taken)? };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| malformed("the body was cut off"))?;
        let length = bytes.len() + chunk.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        if length > taken {
            room.bytes.merge(take_room(&state.inflight, length - taken)?);
            taken = length;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Received { format, bytes: bytes.freeze(), packing, bytes_max, inflight: Arc::clone(&state.inflight), room })
}

fn take_room(room: &Arc<Semaphore>, permits: usize) -> Result<OwnedSemaphorePermit, Problem> {
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    Arc::clone(room)
        .try_acquire_many_owned(permits)
        .map_err(|_| Problem::new(ProblemCode::Overloaded, "too many bodies are being received; nothing was stored"))
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
    /// The unpacked bytes. Blocks; what it takes of the processor is bounded by the bound on bytes.
    pub fn unpack(self) -> Result<Unpacked, Problem> {
        let Self { format: _, bytes, packing, bytes_max, inflight, mut room } = self;
        let sent = bytes.len();
        let mut unpacked = match packing {
            Packing::Plain => bytes,
            Packing::Gzip => read_within(flate2::read::MultiGzDecoder::new(&*bytes), bytes_max, "gzip")?,
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(&*bytes).map_err(|_| cannot_unpack("zstd"))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| cannot_unpack("zstd"))?;
                read_within(decoder, bytes_max, "zstd")?
            }
        };
        room.bytes.merge(take_room(&inflight, unpacked.len().saturating_sub(sent))?);
        if unpacked.starts_with(BYTE_ORDER_MARK) {
            unpacked.advance(BYTE_ORDER_MARK.len());
        }
        Ok(Unpacked { bytes: unpacked, room })
    }
}

/// A body's own bytes.
pub struct Unpacked {
    /// The bytes.
    pub bytes: Bytes,
    /// Their room, to be kept for as long as what was made of them is in memory.
    pub room: Room,
}

fn read_within(reader: impl Read, bytes_max: usize, name: &'static str) -> Result<Bytes, Problem> {
    let mut unpacked = Vec::new();
    let bound = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(bound).read_to_end(&mut unpacked).map_err(|_| cannot_unpack(name))?;
    if unpacked.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(unpacked.into()) }
}

/// The records of a body, in order: each as its JSON.
pub fn records(bytes: &[u8], format: Format, records_max: usize) -> Result<Vec<Cow<'_, [u8]>>, Problem> {
    let records: Vec<Cow<'_, [u8]>> = match format {
        Format::Ndjson => bytes
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            // One more than allowed is enough to know.
            .take(records_max + 1)
            .map(Cow::Borrowed)
            .collect(),
        Format::Json if bytes.trim_ascii().is_empty() => Vec::new(),
        Format::Json => {
            array(bytes, records_max)?.into_iter().map(|record| Cow::Borrowed(record.get().as_bytes())).collect()
        }
    };
    if records.is_empty() {
        return Err(Problem::invalid_field("(body)", "must hold at least one record"));
    }
    if records.len() > records_max {
        let detail = format!("the body must hold at most {records_max} records; split it");
        return Err(Problem::new(ProblemCode::PayloadTooLarge, detail));
    }
    Ok(records)
}

fn array(bytes: &[u8], records_max: usize) -> Result<Vec<&RawValue>, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let records = BoundedList::new(records_max).deserialize(&mut reader);
    records.and_then(|records| reader.end().map(|()| records)).map_err(|error| {
        if error.is_data() {
            Problem::invalid_field(
                "(body)",
                "must be a JSON array of records; to send one record a line, say application/x-ndjson",
            )
        } else {
            Problem::new(ProblemCode::MalformedRequest, format!("the body is not valid JSON: {}", json::syntax(&error)))
        }
    })
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body must be at most {bytes_max} bytes, as sent and after decompression; split it");
    Problem::new(ProblemCode::PayloadTooLarge, detail)
}

fn malformed(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::MalformedRequest, detail)
}

fn cannot_unpack(name: &str) -> Problem {
    Problem::new(ProblemCode::MalformedRequest, format!("the body is not valid {name}, or is cut short"))
}
