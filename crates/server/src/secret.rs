//! Settings that must not be seen: the types mask them wherever they are shown.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What stands for a secret where it is shown.
const MASK: &str = "***";

/// A key or a token. Shown, it is a mask; empty, it is none.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A URL of a database, with a password in it, perhaps. Shown, the password is a mask, in front of the host as well as in
/// parameters; other parameters are shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

/// A URL of a service that others run. Shown, whatever stands in front of the host, and the value of every parameter, is
/// a mask: each service has names of its own for its keys, signatures and codes.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ServiceUrl(String);

/// Parameters of a database's URL that are secrets.
const SECRET_PARAMETERS: [&str; 3] = ["password", "secret", "token"];

macro_rules! masked {
    ($name:ident: $masked:expr) => {
        impl $name {
            /// The setting itself, to be used and not to be shown.
            pub fn reveal(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&$masked(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$masked(&self.0))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

masked!(Secret: masked_text);
masked!(SecretUrl: masked_url);
masked!(ServiceUrl: masked_service_url);

fn masked_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { MASK.to_owned() }
}

fn masked_url(url: &str) -> String {
    masked_parts(url, masked_credentials, masked_parameter)
}

fn masked_service_url(url: &str) -> String {
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    };
    let (url, fragment) = url.split_once('#').map_or((url, ""), |(url, _)| (url, "#***"));
    masked_parts(url, |_| format!("{MASK}@"), parameter) + fragment
}

/// Rather too much than too little: a password may hold any character, written as it is, so it ends at the last `@`.
fn masked_parts(url: &str, credentials: impl Fn(&str) -> String, parameter: impl Fn(&str) -> String) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return masked_text(url) };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (credentials(user), rest),
        None => (String::new(), rest),
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let parameters: Vec<String> =
        parameters.split('&').filter(|parameter| !parameter.is_empty()).map(parameter).collect();
    let question = if parameters.is_empty() { "" } else { "?" };
    format!("{scheme}://{user}{place}{question}{}", parameters.join("&"))
}

fn masked_credentials(credentials: &str) -> String {
    match credentials.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        None => format!("{credentials}@"),
    }
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.iter().any(|secret| name.to_lowercase().contains(secret)) => {
            format!("{name}={MASK}")
        }
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::from("horse-battery".to_owned());
        assert_eq!((format!("{secret:?}").as_str(), secret.reveal()), ("***", "horse-battery"));
        assert_eq!(format!("{:?}", Secret::default()), "");
    }

    #[test]
    fn a_url_of_a_service_is_shown_without_what_could_be_a_secret() {
        for (url, shown) in [
            ("", ""),
            ("https://issuer.example/keys", "https://issuer.example/keys"),
            ("http://u:horse@collector:4318", "http://***@collector:4318"),
            ("http://horse@collector:4318", "http://***@collector:4318"),
            (
                "https://i.example/k?api_key=horse&sig=horse&code=horse&horse#horse",
                "https://i.example/k?api_key=***&sig=***&code=***&***#***",
            ),
            ("https://i.example/k#horse?horse", "https://i.example/k#***"),
            ("collector:4318", "***"),
        ] {
            assert_eq!(format!("{:?}", ServiceUrl::from(url.to_owned())), shown);
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("", ""),
            ("sqlite://data/callscope.db", "sqlite://data/callscope.db"),
            ("postgres://voice@db:5432/calls", "postgres://voice@db:5432/calls"),
            (
                "postgres://voice:horse@db:5432/calls?sslmode=require",
                "postgres://voice:***@db:5432/calls?sslmode=require",
            ),
            ("postgres://voice:a/b?c@d:e@db,db2/calls", "postgres://voice:***@db,db2/calls"),
            (
                "postgres://db/calls?user=voice&password=horse&colour",
                "postgres://db/calls?user=voice&password=***&colour",
            ),
            ("postgres://db/calls?Client_Secret=horse", "postgres://db/calls?Client_Secret=***"),
            ("voice:horse@db/calls", "***"),
        ] {
            assert_eq!(format!("{:?}", SecretUrl::from(url.to_owned())), shown);
        }
    }
}
