//! `callscope health`: asks the server of these settings how it is. For container images, which have no curl.

use crate::settings::Settings;
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const LIVE_PATH: &str = "/health/live";
const READY_PATH: &str = "/health/ready";

/// `callscope health`: fails unless the server answers that it is well.
pub fn health(settings: &Settings, live: bool) -> anyhow::Result<()> {
    let address = reachable(settings.server.bind);
    let path = if live { LIVE_PATH } else { READY_PATH };
    let answer = ask(address, path).with_context(|| format!("no answer from http://{address}{path}"))?;
    let status = answer.split_whitespace().nth(1).unwrap_or_default();
    ensure!(status == "200", "http://{address}{path} answers {status}");
    println!("ok");
    Ok(())
}

/// The first line of an answer.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
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
