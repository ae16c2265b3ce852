//! Addresses of clients: which one a request came from, and how much each may have at one time.

use crate::transport::Connection;
use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;
use ipnet::{IpNet, Ipv6Net};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Bits of an IPv6 address that a network has to itself: a client chooses the others freely.
const IPV6_BLOCK_BITS: u8 = 64;

/// The address of the client that sent a request: the peer's, or behind a trusted proxy the one that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address of the client that sent a request; none in tests without a connection.
    #[must_use]
    pub fn of(request: &HttpRequest) -> Option<Self> {
        let connection = Connection::of(request);
        match connection {
            Some(connection) => Some(connection.client(request.headers())),
            None => request.peer_addr().map(|peer| Self(peer.ip().to_canonical())),
        }
    }

    /// The addresses that are counted together with this one.
    #[must_use]
    pub fn block(self) -> AddressBlock {
        AddressBlock(match self.0.to_canonical() {
            IpAddr::V6(address) => Ipv6Net::new_assert(address, IPV6_BLOCK_BITS).network().into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Addresses that are counted together: one of IPv4, a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressBlock(IpAddr);

/// A word that is neither a network nor an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a network such as 10.0.0.0/8 nor an address")]
pub struct TrustedProxiesFault(String);

/// The proxies whose `X-Forwarded-For` is believed, as networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Reads networks, such as `10.0.0.0/8`, and single addresses.
    pub fn parse<T: AsRef<str>>(words: &[T]) -> Result<Self, TrustedProxiesFault> {
        let network = |word: &T| {
            let word = word.as_ref().trim();
            let network = word.parse::<IpNet>().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| TrustedProxiesFault(word.to_owned()))
        };
        words.iter().map(network).collect::<Result<Vec<_>, _>>().map(|networks| Self(networks.into()))
    }

    /// Whether an address is that of a trusted proxy.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client that a trusted proxy names: the last address of `X-Forwarded-For` that is no trusted proxy itself.
    /// What stands before it may be anything that the client made up. Without one, the peer.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).collect();
        let words = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut client = peer;
        for word in words {
            let Some(address) = forwarded(word) else { break };
            client = address;
            if !self.contain(address) {
                break;
            }
        }
        ClientAddress(client)
    }
}

/// An address of `X-Forwarded-For`, with or without a port.
fn forwarded(word: &str) -> Option<IpAddr> {
    let word = word.trim();
    let bare = word.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(word);
    let address = bare.parse().or_else(|_| word.parse::<std::net::SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// How many of something each block of addresses has.
pub struct AddressCounts {
    counts: Mutex<HashMap<AddressBlock, usize>>,
    max: usize,
}

impl AddressCounts {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), max })
    }

    /// One more, until what this gives is dropped; none if there are too many.
    pub fn take(self: &Arc<Self>, block: AddressBlock) -> Option<AddressPlace> {
        let mut counts = self.lock();
        let count = counts.entry(block).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressPlace { counts: Arc::clone(self), block })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AddressBlock, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of what a block of addresses may have.
pub struct AddressPlace {
    counts: Arc<AddressCounts>,
    block: AddressBlock,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.block) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    fn client(lines: &[&'static str]) -> String {
        let proxies = TrustedProxies::parse(&["10.0.0.0/8", "::1"]).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HeaderName::from_static(FORWARDED_FOR), HeaderValue::from_static(line));
        }
        proxies.client("10.0.0.1".parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(client(&["192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["1.1.1.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["1.1.1.1, 192.0.2.7:4711, 10.1.1.1", "::1"]), "192.0.2.7");
        assert_eq!(client(&["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(client(&["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(client(&["192.0.2.7, unknown"]), "10.0.0.1", "what cannot be read is not passed over");
    }

    #[test]
    fn networks_and_addresses_are_read_and_nothing_else() {
        let proxies = TrustedProxies::parse(&["192.0.2.0/24", " 2001:db8::1 "]).unwrap();
        assert!(proxies.contain("::ffff:192.0.2.200".parse().unwrap()));
        assert!(!proxies.contain("2001:db8::2".parse().unwrap()));
        assert_eq!(TrustedProxies::parse(&["localhost"]), Err(TrustedProxiesFault("localhost".to_owned())));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let block = |text: &str| ClientAddress(text.parse().unwrap()).block();
        assert_eq!(block("2001:db8::1"), block("2001:db8:0:0:ffff::2"));
        assert_ne!(block("2001:db8::1"), block("2001:db8:0:1::1"));
        let counts = AddressCounts::new(1);
        let place = counts.take(block("2001:db8::1"));
        assert!(place.is_some() && counts.take(block("2001:db8::2")).is_none());
        assert!(counts.take(block("192.0.2.1")).is_some());
        drop(place);
        assert!(counts.take(block("2001:db8::2")).is_some() && counts.lock().is_empty());
    }
}
