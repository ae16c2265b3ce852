//! An incremental reader of `multipart/form-data`. It buffers a delimiter's length of the body and the headers of one part,
//! and passes everything else to its sink at once.

use memchr::memmem;

/// Bytes of the headers of one part.
const PART_HEADERS_MAX: usize = 8 << 10;
/// Characters of a boundary, by RFC 2046.
const BOUNDARY_MAX: usize = 70;
/// Spaces and tabs that may follow a boundary.
const PADDING_MAX: usize = 256;

/// Takes the parts of a body.
pub trait PartSink {
    /// What the sink may refuse a part with.
    type Fault: From<MultipartFault>;

    /// A part begins. The name is empty if the part has none.
    fn begin(&mut self, name: &str) -> Result<(), Self::Fault>;
    /// The next bytes of the part.
    fn data(&mut self, bytes: &[u8]) -> Result<(), Self::Fault>;
    /// The part is whole.
    fn end(&mut self) -> Result<(), Self::Fault>;
}

/// Why a body is no `multipart/form-data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartFault {
    /// The content type is another, or names no boundary.
    #[error("The content type must be multipart/form-data with a boundary.")]
    ContentType,
    /// A part's headers are too long, or what follows a boundary is neither a part nor the end.
    #[error("The multipart body is malformed.")]
    Malformed,
    /// The body ends before its last boundary.
    #[error("The multipart body is incomplete.")]
    Incomplete,
}

/// Reads one body.
#[derive(Debug)]
pub struct MultipartReader {
    /// CR LF, two hyphens and the boundary.
    delimiter: Box<[u8]>,
    state: State,
    /// Unprocessed bytes: less than a delimiter, or the headers of a part.
    rest: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// After a boundary: the end of its line, or two hyphens.
    Boundary,
    Headers,
    Data,
    /// After the last boundary.
    Epilogue,
}

impl MultipartReader {
    /// A reader of a body with this `Content-Type`.
    pub fn new(content_type: &str) -> Result<Self, MultipartFault> {
        let boundary = boundary_of(content_type).ok_or(MultipartFault::ContentType)?;
        // The first boundary may stand at the very beginning; this makes it look like any other.
        let rest = b"\r\n".to_vec();
        Ok(Self { delimiter: format!("\r\n--{boundary}").into_bytes().into(), state: State::Preamble, rest })
    }

    /// Takes the next bytes of the body.
    pub fn push<S: PartSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<(), S::Fault> {
        if self.state == State::Epilogue {
            return Ok(());
        }
        let mut arrived = std::mem::take(&mut self.rest);
        arrived.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(taken) = self.step(&arrived[at..], sink)? {
            at += taken;
        }
        arrived.drain(..at);
        self.rest = arrived;
        Ok(())
    }

    /// The body has ended.
    pub fn finish(&self) -> Result<(), MultipartFault> {
        if self.state == State::Epilogue { Ok(()) } else { Err(MultipartFault::Incomplete) }
    }

    /// Processes the beginning of `bytes` and returns its length; `None` if more must arrive first.
    fn step<S: PartSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<Option<usize>, S::Fault> {
        match self.state {
            State::Preamble | State::Data => self.until_delimiter(bytes, sink),
            State::Boundary => Ok(self.after_boundary(bytes)?),
            State::Headers => self.headers(bytes, sink),
            State::Epilogue => Ok(None),
        }
    }

    fn until_delimiter<S: PartSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<Option<usize>, S::Fault> {
        let found = memmem::find(bytes, &self.delimiter);
        // A possible beginning of a delimiter is kept until the rest of it arrives.
        let data = found.unwrap_or(bytes.len().saturating_sub(self.delimiter.len() - 1));
        let is_part = self.state == State::Data;
        if is_part && data > 0 {
            sink.data(&bytes[..data])?;
        }
        if found.is_none() {
            return Ok((data > 0).then_some(data));
        }
        if is_part {
            sink.end()?;
        }
        self.state = State::Boundary;
        Ok(Some(data + self.delimiter.len()))
    }

    fn after_boundary(&mut self, bytes: &[u8]) -> Result<Option<usize>, MultipartFault> {
        if bytes.starts_with(b"--") {
            self.state = State::Epilogue;
            return Ok(Some(bytes.len()));
        }
        let padding = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match &bytes[padding..] {
            _ if padding > PADDING_MAX => Err(MultipartFault::Malformed),
            [b'\r', b'\n', ..] => {
                self.state = State::Headers;
                // The line's end stays, so that headers of no lines end as others do.
                Ok(Some(padding))
            }
            [] | [b'\r' | b'-'] => Ok(None),
            _ => Err(MultipartFault::Malformed),
        }
    }

    fn headers<S: PartSink>(&mut self, bytes: &[u8], sink: &mut S) -> Result<Option<usize>, S::Fault> {
        let end = memmem::find(bytes, b"\r\n\r\n");
        if end.unwrap_or(bytes.len()) > PART_HEADERS_MAX {
            return Err(MultipartFault::Malformed.into());
        }
        let Some(end) = end else { return Ok(None) };
        let headers = String::from_utf8_lossy(&bytes[..end]);
        sink.begin(&name_of(&headers).unwrap_or_default())?;
        self.state = State::Data;
        Ok(Some(end + b"\r\n\r\n".len()))
    }
}

/// The boundary of `multipart/form-data; boundary=...`.
fn boundary_of(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    let boundary = parameter(parameters, "boundary")?;
    let is_sound =
        (1..=BOUNDARY_MAX).contains(&boundary.len()) && boundary.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    (kind.trim().eq_ignore_ascii_case("multipart/form-data") && is_sound).then_some(boundary)
}

/// The `name` of a part's `Content-Disposition`.
fn name_of(headers: &str) -> Option<String> {
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    parameter(disposition.split_once(';')?.1, "name")
}

/// The value of one of `a=b; c="d"`. A quoted value may contain semicolons and escaped quotes.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let mut rest = parameters;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = if let Some(quoted) = after.trim_start().strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = after.find(';').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        if name.trim_matches([';', ' ', '\t']).eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

/// The text before the closing quote, and the text after it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTENT_TYPE: &str = "multipart/form-data; boundary=XyZ";

    #[derive(Debug, Default, PartialEq)]
    struct Parts(Vec<(String, Vec<u8>, bool)>);

    impl PartSink for Parts {
        type Fault = MultipartFault;

        fn begin(&mut self, name: &str) -> Result<(), MultipartFault> {
            self.0.push((name.to_owned(), Vec::new(), false));
            Ok(())
        }

        fn data(&mut self, bytes: &[u8]) -> Result<(), MultipartFault> {
            self.0.last_mut().expect("a part has begun").1.extend_from_slice(bytes);
            Ok(())
        }

        fn end(&mut self) -> Result<(), MultipartFault> {
            self.0.last_mut().expect("a part has begun").2 = true;
            Ok(())
        }
    }

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Parts, MultipartFault> {
        let mut reader = MultipartReader::new(CONTENT_TYPE)?;
        let mut parts = Parts::default();
        for piece in pieces {
            reader.push(piece, &mut parts)?;
        }
        reader.finish().map(|()| parts)
    }

    fn part(name: &str, data: &[u8]) -> Vec<u8> {
        let head = format!("--XyZ\r\nContent-Disposition: form-data; filename=\"a;b\\\".c\"; name=\"{name}\"\r\n\r\n");
        [head.as_bytes(), data, b"\r\n"].concat()
    }

    #[test]
    fn a_body_that_is_cut_short_is_incomplete() {
        let body = [part("a", b"1"), b"--XyZ--\r\n".to_vec()].concat();
        for length in 0..body.len() - 2 {
            assert_eq!(read([&body[..length]]).err(), Some(MultipartFault::Incomplete), "{length}");
        }
        assert!(read([&body[..]]).is_ok());
    }

    #[test]
    fn a_preamble_padding_and_an_epilogue_are_skipped() {
        let body = b"hello\r\n--XyZ \t\r\n\r\ndata\r\n--XyZ--\r\n--XyZ\r\nbye";
        assert_eq!(read([&body[..]]), Ok(Parts(vec![(String::new(), b"data".to_vec(), true)])));
    }

    #[test]
    fn bytes_that_resemble_a_delimiter_are_data() {
        let data = b"\r\n--Xy\r\n-\r\n--X\r\r\n--";
        let body = [part("a", data), b"--XyZ--".to_vec()].concat();
        assert_eq!(read([&body[..]]), Ok(Parts(vec![("a".to_owned(), data.to_vec(), true)])));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        assert_eq!(read([&b"--XyZjunk\r\n"[..]]).err(), Some(MultipartFault::Malformed));
        let endless = [b"--XyZ\r\n".to_vec(), vec![b'x'; PART_HEADERS_MAX + 1]].concat();
        assert_eq!(read([&endless[..]]).err(), Some(MultipartFault::Malformed));
    }

    #[test]
    fn a_boundary_may_be_quoted_and_must_be_there() {
        assert_eq!(boundary_of("Multipart/Form-Data; charset=x; boundary=\"a; b\"").as_deref(), Some("a; b"));
        for wrong in ["multipart/form-data", "multipart/mixed; boundary=a", "multipart/form-data; boundary=", ""] {
            assert_eq!(MultipartReader::new(wrong).err(), Some(MultipartFault::ContentType), "{wrong}");
        }
    }

    proptest! {
        /// Any bytes are data or a fault, and no more than a part's headers is kept of them.
        #[test]
        fn any_bytes_are_read_or_refused(pieces in prop::collection::vec("(--XyZ|\r\n|-|[a-z: ]|\\PC){0,30}", 0..20)) {
            let mut reader = MultipartReader::new(CONTENT_TYPE).expect("a boundary");
            let mut parts = Parts::default();
            for piece in pieces {
                if reader.push(piece.as_bytes(), &mut parts).is_err() {
                    break;
                }
                prop_assert!(reader.rest.len() <= PART_HEADERS_MAX);
            }
        }

        /// Any parts, cut anywhere: they come out as they went in, and little is kept meanwhile.
        #[test]
        fn parts_do_not_depend_on_the_pieces(
            parts in prop::collection::vec(("[a-z]{1,8}", "[-XyZ\r\n]{0,40}"), 1..5),
            cut in 1_usize..20,
        ) {
            let parts: Vec<_> = parts.into_iter().filter(|(_, data)| !format!("\r\n{data}").contains("\r\n--XyZ")).collect();
            let mut body: Vec<u8> = parts.iter().flat_map(|(name, data)| part(name, data.as_bytes())).collect();
            body.extend_from_slice(b"--XyZ--\r\n");
            let expected = parts.into_iter().map(|(name, data)| (name, data.into_bytes(), true)).collect();
            prop_assert_eq!(read(body.chunks(cut)), Ok(Parts(expected)));
        }
    }
}
