//! `callscope health`: checks the server of these settings. For container images, which have no curl.

use crate::settings::Settings;
use anyhow::{Context, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const LIVE_PATH: &str = "/health/live";
const READY_PATH: &str = "/health/ready";

/// `callscope health`: fails unless the server is healthy.
pub fn health(settings: &Settings, live: bool) -> anyhow::Result<()> {
    let address = reachable(settings.server.bind);
    let path = if live { LIVE_PATH } else { READY_PATH };
    let url = format!("http://{address}{path}");
    let config = ureq::Agent::config_builder().timeout_global(Some(ANSWER_TIMEOUT)).http_status_as_error(false).build();
    let answer = config.new_agent().get(&url).call().with_context(|| format!("no answer from {url}"))?;
    ensure!(answer.status() == 200, "{url} answers {}", answer.status().as_u16());
    println!("ok");
    Ok(())
}

/// Where a server that listens everywhere can be reached from its own machine.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}
