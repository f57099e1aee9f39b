//! Asking the operations endpoint of a running peer: one plain HTTP request, over TCP or TLS.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::Failure;
use crate::config::{self, Operations};

/// What a peer answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks the peer that runs with this configuration.
pub(crate) fn ask(
    config: &Path,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, Failure> {
    let operations = config::load(config)?.operations;
    let address = reachable(operations.listen);
    exchange(&operations, address, method, path, body)
        .map_err(|reason| Failure::Run(format!("no answer from the peer at {address}: {reason}")))
}

/// As [`ask`]; anything but success is a failure with the peer's own words.
pub(crate) fn ask_well(
    config: &Path,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<String, Failure> {
    let answer = ask(config, method, path, body)?;
    if (200..300).contains(&answer.status) {
        return Ok(answer.body);
    }
    let told: Option<String> = serde_json::from_str::<serde_json::Value>(&answer.body)
        .ok()
        .and_then(|value| value.get("error")?.as_str().map(str::to_owned));
    let told = told.unwrap_or_else(|| format!("the peer answered with status {}", answer.status));
    Err(Failure::Run(told))
}

/// Whoever listens on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn exchange(
    operations: &Operations,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, String> {
    match &operations.tls {
        Some(files) => {
            let stream = crate::tls::connect(files, address, PATIENCE)?;
            talk(stream, address, method, path, body)
        }
        None => {
            let text = |error: std::io::Error| error.to_string();
            let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(text)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
            talk(stream, address, method, path, body)
        }
    }
}

fn talk(
    mut stream: impl Read + Write,
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&[u8]>,
) -> Result<Answer, String> {
    let text = |error: std::io::Error| error.to_string();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n")
        .map_err(text)?;
    if let Some(body) = body {
        let length = body.len();
        write!(
            stream,
            "Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        )
        .and_then(|()| stream.write_all(body))
        .map_err(text)?;
    } else {
        write!(stream, "\r\n").map_err(text)?;
    }
    stream.flush().map_err(text)?;
    let mut answer = Vec::new();
    let ended = stream.take(ANSWER_MAX).read_to_end(&mut answer);
    // A server that closes without TLS's goodbye has said all it wanted; whether that is whole is seen below.
    if let Err(error) = ended
        && error.kind() != std::io::ErrorKind::UnexpectedEof
    {
        return Err(error.to_string());
    }
    parse(&String::from_utf8(answer).map_err(|_| "the answer is no text")?)
}

fn parse(answer: &str) -> Result<Answer, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is cut off")?;
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if length.is_some_and(|length| length != body.len()) {
        return Err("the answer is cut off".to_owned());
    }
    let status = status.ok_or_else(|| format!("not an answer: {line:?}"))?;
    Ok(Answer { status, body: body.to_owned() })
}

/// How long the peer may take to answer: a join opens a store.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest answer read, in bytes.
const ANSWER_MAX: u64 = 16 << 20;
