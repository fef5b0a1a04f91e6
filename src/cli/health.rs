//! `credit-ledger health`: asks a running service on this machine whether it is ready. For
//! containers, whose image has no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/readyz`.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let address = reachable(config.listen_addr);
    let status = timeout(PATIENCE, ask(address))
        .await
        .context("no answer in time")??;
    ensure!(status.starts_with("HTTP/1.1 200"), "not ready: {status}");
    println!("ready");
    Ok(ExitCode::SUCCESS)
}

/// A service that listens on every address is asked on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The status line. One request by hand: a client library for it would outweigh it.
async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)
        .await
        .context("nothing listens")?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
