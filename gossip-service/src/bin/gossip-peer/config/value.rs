//! Single values, in the forms in which Fabric's operators write them.

use std::net::SocketAddr;
use std::time::Duration;

use gossip_api::Endpoint;
use serde_json::Value;

use super::Failure;
use super::keys::{Form, Key};
use super::tree::Tree;

/// Whether the value of `key` is of its form; values of keys that we ignore are checked too.
pub(super) fn check_form(tree: &Tree, key: &Key) -> Result<(), Failure> {
    match key.form {
        Form::Text => text(tree, key.path).map(drop),
        Form::Switch => switch(tree, key.path).map(drop),
        Form::Count => count(tree, key.path).map(drop),
        Form::Duration => duration(tree, key.path).map(drop),
        Form::List => list(tree, key.path).map(drop),
        Form::Section => Ok(()),
    }
}

/// A text; an empty one counts as not set.
pub(super) fn text(tree: &Tree, path: &str) -> Result<Option<String>, Failure> {
    match tree.get(path) {
        None => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(value)) => Ok(Some(value.to_string())),
        Some(other) => Err(Failure(format!("{path} must be a text, not {other}"))),
    }
}

pub(super) fn required(tree: &Tree, path: &str) -> Result<String, Failure> {
    text(tree, path)?.ok_or_else(|| Failure(format!("{path} is not set: add it to the file")))
}

pub(super) fn switch(tree: &Tree, path: &str) -> Result<Option<bool>, Failure> {
    let Some(text) = text(tree, path)? else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(Failure(format!("{path} must be true or false, not {text:?}"))),
    }
}

/// A count; 0 means "the default", as in Fabric.
pub(super) fn count(tree: &Tree, path: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = text(tree, path)? else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(Failure(format!("{path} must be a whole number from 0, not {text:?}"))),
    }
}

pub(super) fn size(tree: &Tree, path: &str) -> Result<Option<usize>, Failure> {
    let too_large = |_| Failure(format!("{path} is too large"));
    count(tree, path)?.map(|count| usize::try_from(count).map_err(too_large)).transpose()
}

/// A duration; 0 means "the default", as in Fabric.
pub(super) fn duration(tree: &Tree, path: &str) -> Result<Option<Duration>, Failure> {
    let Some(text) = text(tree, path)? else { return Ok(None) };
    let parsed = parse_duration(&text).ok_or_else(|| {
        Failure(format!("{path} must be a duration such as 5s, 1500ms or 1h30m, not {text:?}"))
    })?;
    Ok(Some(parsed).filter(|duration| !duration.is_zero()))
}

/// Go's notation without signs: numbers with units, one after the other.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A list, or one text with words separated by blanks.
pub(super) fn list(tree: &Tree, path: &str) -> Result<Vec<String>, Failure> {
    let Some(Value::Array(items)) = tree.get(path) else {
        let words = text(tree, path)?.unwrap_or_default();
        return Ok(words.split_whitespace().map(str::to_owned).collect());
    };
    let text = |item: &Value| match item.as_str() {
        Some(text) => Ok(text.trim().to_owned()),
        None => Err(Failure(format!("{path} must be a list of texts, not {item}"))),
    };
    items.iter().map(text).collect()
}

/// `host:port`, the host in brackets if it is an IPv6 address.
pub(super) fn endpoint(path: &str, text: &str) -> Result<Endpoint, Failure> {
    let wrong =
        || Failure(format!("{path} must be host:port with a port from 1 to 65535, not {text:?}"));
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let port_ok = port.parse::<u16>().is_ok_and(|port| port != 0);
    if host.is_empty() || bare_ipv6 || !port_ok {
        return Err(wrong());
    }
    Endpoint::new(text).map_err(|_| wrong())
}

/// An address to listen on.
pub(super) fn address(tree: &Tree, path: &str) -> Result<SocketAddr, Failure> {
    let text = required(tree, path)?;
    text.parse().map_err(|_| {
        Failure(format!(
            "{path} must be an IP address and a port such as 0.0.0.0:7051, not {text:?}"
        ))
    })
}
