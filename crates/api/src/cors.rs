//! Which pages of other origins may use the interface from a browser.
//!
//! Credentials in the sense of CORS (cookies, client certificates) are never allowed: a key or a token travels in a
//! header that the page itself sets.

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Condition;
use std::time::Duration;

const ANY: &str = "*";

/// Which pages may do what, as it is written in settings.
#[derive(Clone, Copy, Debug)]
pub struct CorsOptions<'a> {
    /// Origins such as `https://dashboard.example`, or `*` alone for all; none for none.
    pub allowed_origins: &'a [String],
    pub allowed_methods: &'a [String],
    pub allowed_headers: &'a [String],
    pub exposed_headers: &'a [String],
    pub max_age: Duration,
}

/// Validated options.
#[derive(Clone, Debug)]
pub struct CorsRules {
    /// `None` for every origin.
    origins: Option<Vec<String>>,
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    exposed: Vec<HeaderName>,
    max_age_s: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorsFault {
    /// Not an origin.
    #[error("{0:?} is no origin; write one like \"https://dashboard.example\", without a path")]
    Origin(String),
    #[error("\"*\" means every origin, so it must stand alone")]
    AnyAndSome,
    /// Not a method.
    #[error("{0:?} is no method")]
    Method(String),
    /// The option and a text that is not a header name.
    #[error("{1:?} is no name of a header")]
    Header(&'static str, String),
}

impl CorsFault {
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Origin(_) | Self::AnyAndSome => "allowed_origins",
            Self::Method(_) => "allowed_methods",
            Self::Header(key, _) => key,
        }
    }
}

impl CorsRules {
    /// No origin is allowed.
    #[must_use]
    pub const fn none() -> Self {
        Self { origins: Some(Vec::new()), methods: Vec::new(), headers: Vec::new(), exposed: Vec::new(), max_age_s: 0 }
    }

    pub fn new(options: &CorsOptions<'_>) -> Result<Self, CorsFault> {
        let is_any = options.allowed_origins.iter().any(|origin| origin == ANY);
        if is_any && options.allowed_origins.len() > 1 {
            return Err(CorsFault::AnyAndSome);
        }
        let wrong = options.allowed_origins.iter().find(|origin| !is_any && !is_origin(origin));
        if let Some(origin) = wrong {
            return Err(CorsFault::Origin(origin.clone()));
        }
        let methods: Result<Vec<Method>, _> = options.allowed_methods.iter().map(|name| method(name)).collect();
        Ok(Self {
            origins: (!is_any).then(|| options.allowed_origins.to_vec()),
            methods: methods?,
            headers: headers("allowed_headers", options.allowed_headers)?,
            exposed: headers("exposed_headers", options.exposed_headers)?,
            max_age_s: usize::try_from(options.max_age.as_secs()).unwrap_or(usize::MAX),
        })
    }

    /// What answers preflights and adds headers, if any origin is allowed.
    pub(crate) fn middleware(&self) -> Condition<Cors> {
        let cors = Cors::default()
            .allowed_methods(self.methods.clone())
            .allowed_headers(self.headers.clone())
            .expose_headers(&self.exposed)
            .max_age(self.max_age_s);
        match &self.origins {
            None => Condition::new(true, cors.allow_any_origin().send_wildcard()),
            Some(origins) => {
                let cors = origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin));
                Condition::new(!origins.is_empty(), cors)
            }
        }
    }
}

/// Names of methods are case-sensitive; ours are all upper case.
fn method(name: &str) -> Result<Method, CorsFault> {
    let known = name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_uppercase()));
    known.ok_or_else(|| CorsFault::Method(name.to_owned()))
}

fn headers(key: &'static str, names: &[String]) -> Result<Vec<HeaderName>, CorsFault> {
    names.iter().map(|name| name.parse().map_err(|_| CorsFault::Header(key, name.clone()))).collect()
}

/// Whether a text is what a browser sends as `Origin`: a scheme and a host, perhaps a port, in lower case.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_plain = |text: &str, others: &[u8]| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte);
        !text.is_empty() && text.bytes().all(known)
    };
    is_plain(scheme, b"+-.") && is_plain(host, b"-._:[]") && HeaderValue::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origins: &[&str], headers: &[&str]) -> Result<CorsRules, CorsFault> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (origins, headers) = (owned(origins), owned(headers));
        let options = CorsOptions {
            allowed_origins: &origins,
            allowed_methods: &["GET".to_owned()],
            allowed_headers: &headers,
            exposed_headers: &[],
            max_age: Duration::ZERO,
        };
        CorsRules::new(&options)
    }

    #[test]
    fn origins_are_exact_or_all() {
        for origins in [&[][..], &["*"], &["https://a.example", "http://localhost:3000", "http://[::1]:3000"]] {
            assert!(rules(origins, &["X-API-Key"]).is_ok(), "{origins:?}");
        }
        for origin in
            ["", "a.example", "https://", "https://a.example/", "https://A.example", "https://*.a.example", "null"]
        {
            assert_eq!(rules(&[origin], &[]).err(), Some(CorsFault::Origin(origin.to_owned())));
        }
        assert_eq!(rules(&["*", "https://a.example"], &[]).err(), Some(CorsFault::AnyAndSome));
        assert!(matches!(rules(&["*"], &["X API Key"]).err(), Some(CorsFault::Header("allowed_headers", _))));
    }
}
