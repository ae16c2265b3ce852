//! The settings of the server's own counters: `[metrics]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::net::SocketAddr;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSettings {
    pub enabled: bool,
    /// Where, if not beside everything else.
    #[serde(deserialize_with = "address", serialize_with = "address_text")]
    pub bind: Option<SocketAddr>,
}

/// The address that `config/default.toml` names, which a test holds to it.
const DEFAULT_BIND: &str = "127.0.0.1:9090";

impl MetricsSettings {
    /// Whether the address is the default one, which may not have been chosen on purpose.
    pub fn is_default_bind(&self) -> bool {
        self.bind.is_some_and(|bind| bind.to_string() == DEFAULT_BIND)
    }
}

/// An address; `None` where the text is empty.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let address = (!text.is_empty()).then(|| text.parse()).transpose();
    address
        .map_err(|_| de::Error::custom(format!("{text:?} is no address; write one like \"127.0.0.1:9090\", or \"\"")))
}

/// An address as it is written; the empty text for none.
#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn address_text<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
}
