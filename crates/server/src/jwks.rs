//! Where the public keys of tokens come from: a file, or an address.

use anyhow::Context;
use callscope_api::{KeySet, KeySource};
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const BYTES_MAX: u64 = 1 << 20;
/// How long fetching one may take, redirections included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Most redirections from an address with TLS, each to another one with TLS. Without TLS none is followed: it could lead
/// to any machine.
const REDIRECTS_MAX: u32 = 3;

/// A file with a key set. It is read again now and then, so a new one takes effect.
pub struct FileSource(PathBuf);

impl FileSource {
    /// A file that holds a key set at this moment.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let source = Self(path.to_owned());
        let json = source.read().with_context(|| format!("setting auth.jwks_file: cannot read {}", path.display()))?;
        KeySet::parse(&json).with_context(|| format!("setting auth.jwks_file: {}", path.display()))?;
        Ok(source)
    }

    fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut json = Vec::new();
        File::open(&self.0)?.take(BYTES_MAX).read_to_end(&mut json)?;
        Ok(json)
    }
}

impl KeySource for FileSource {
    fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.read()?)
    }
}

pub struct UrlSource {
    url: String,
    agent: Agent,
}

impl UrlSource {
    /// The certificate of an `https` address is checked against the machine's trusted authorities.
    pub fn new(url: &str) -> Self {
        let authorities = rustls_native_certs::load_native_certs().certs;
        let authorities = authorities.iter().map(|certificate| Certificate::from_der(certificate).to_owned());
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&authorities.collect::<Vec<_>>())).build();
        let is_https = url.starts_with("https://");
        let config = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(FETCH_TIMEOUT))
            .https_only(is_https)
            .max_redirects(if is_https { REDIRECTS_MAX } else { 0 })
            .build();
        Self { url: url.to_owned(), agent: config.into() }
    }
}

impl KeySource for UrlSource {
    fn fetch(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let mut response = self.agent.get(&self.url).call()?;
        Ok(response.body_mut().with_config().limit(BYTES_MAX).read_to_vec()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    const SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}]}"#;

    /// Answers requests with these texts, one after the other.
    fn serve(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&stream).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                // The client may have hung up after enough bytes.
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        url
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_key_set_is_fetched_and_what_is_none_is_an_error() {
        let large = " ".repeat(usize::try_from(BYTES_MAX).unwrap() + 1);
        let source = UrlSource::new(&serve(vec![
            answer("200 OK", SET),
            answer("404 Not Found", SET),
            answer("200 OK", &large),
            "nonsense".to_owned(),
        ]));
        assert_eq!(source.fetch().unwrap(), SET.as_bytes());
        for what in ["a 404", "too many bytes", "no HTTP"] {
            assert!(source.fetch().is_err(), "{what}");
        }
    }

    #[test]
    fn without_tls_no_redirect_is_followed() {
        let elsewhere = serve(vec![answer("200 OK", SET)]);
        let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
        let fetched = UrlSource::new(&serve(vec![redirect])).fetch();
        assert!(fetched.is_err() || fetched.is_ok_and(|body| body.is_empty()));
    }

    #[test]
    fn with_tls_nothing_is_fetched_without() {
        let mut source = UrlSource::new("https://issuer.example/keys");
        // As a redirect would.
        source.url = serve(vec![answer("200 OK", SET)]);
        assert!(source.fetch().is_err());
    }

    #[test]
    fn a_file_must_hold_a_key_set_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        assert!(FileSource::open(&path).is_err());
        std::fs::write(&path, "{}").unwrap();
        assert!(FileSource::open(&path).is_err());
        std::fs::write(&path, SET).unwrap();
        assert_eq!(FileSource::open(&path).unwrap().fetch().unwrap(), SET.as_bytes());
    }
}
