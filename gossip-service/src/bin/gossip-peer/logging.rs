//! What is logged, and how that changes while the peer runs.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The levels in force. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogLevels {
    handle: reload::Handle<EnvFilter, Registry>,
    spec: Arc<Mutex<String>>,
    /// Set in the environment, and not to be changed by the file.
    is_fixed: bool,
}

impl LogLevels {
    /// Starts logging on standard error: as `RUST_LOG` says, else as the file says, else `info`.
    pub(crate) fn start(configured: Option<&str>) -> Result<Self, String> {
        let from_environment = std::env::var("RUST_LOG").ok().filter(|spec| !spec.is_empty());
        let is_fixed = from_environment.is_some();
        let spec = from_environment.or_else(|| configured.map(str::to_owned));
        let spec = spec.unwrap_or_else(|| DEFAULT.to_owned());
        let (filter, handle) = reload::Layer::new(parse(&spec)?);
        let lines =
            fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
        tracing_subscriber::registry().with(filter).with(lines).init();
        Ok(Self { handle, spec: Arc::new(Mutex::new(spec)), is_fixed })
    }

    /// The levels in force, as they were written.
    pub(crate) fn spec(&self) -> String {
        self.spec.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the levels; nothing changes if the text is not understood.
    pub(crate) fn set(&self, spec: &str) -> Result<(), String> {
        let filter = parse(spec)?;
        self.handle.reload(filter).map_err(|error| error.to_string())?;
        spec.clone_into(&mut self.spec.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// The file was read again.
    pub(crate) fn configure(&self, configured: Option<&str>) -> Result<(), String> {
        if self.is_fixed { Ok(()) } else { self.set(configured.unwrap_or(DEFAULT)) }
    }
}

/// Reads Fabric's notation (`gossip.comm,gossip.state=debug:warn`) and that of `RUST_LOG`.
// fabric: common/flogging/loggerlevels.go ActivateSpec
fn parse(spec: &str) -> Result<EnvFilter, String> {
    let mut directives = Vec::new();
    for field in spec.replace("::", PATH).split(':').filter(|field| !field.trim().is_empty()) {
        match field.split_once('=') {
            None => directives.push(level(field)?.to_owned()),
            Some((loggers, named)) => {
                // In `RUST_LOG`'s notation a comma begins another directive.
                let (named, rest) = named.split_once(',').unwrap_or((named, ""));
                let named = level(named)?;
                for logger in loggers.split(',') {
                    directives.push(match level(logger) {
                        Ok(default) if !logger.contains('.') => default.to_owned(),
                        _ => format!("{}={named}", target(logger)?),
                    });
                }
                for directive in rest.split(',').filter(|directive| !directive.is_empty()) {
                    directives.push(match directive.split_once('=') {
                        Some((logger, named)) => format!("{}={}", target(logger)?, level(named)?),
                        None => level(directive)?.to_owned(),
                    });
                }
            }
        }
    }
    if directives.is_empty() {
        directives.push(DEFAULT.to_owned());
    }
    EnvFilter::try_new(directives.join(",")).map_err(|error| error.to_string())
}

/// Fabric knows more levels than we do.
fn level(name: &str) -> Result<&'static str, String> {
    match name.trim().to_ascii_lowercase().as_str() {
        "trace" => Ok("trace"),
        "debug" => Ok("debug"),
        "info" => Ok("info"),
        "warn" | "warning" => Ok("warn"),
        "error" | "dpanic" | "panic" | "fatal" => Ok("error"),
        "off" => Ok("off"),
        _ => Err(format!("{name:?} is no log level: use debug, info, warn or error")),
    }
}

/// Fabric's names of loggers, in ours.
fn target(logger: &str) -> Result<String, String> {
    let logger = logger.trim().replace(PATH, "::");
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if logger.is_empty() || !logger.chars().all(is_name) {
        return Err(format!("{logger:?} is no name of a logger"));
    }
    Ok(match logger.as_str() {
        "gossip.gossip" | "gossip.channel" | "gossip.pull" => "gossip_service::node".to_owned(),
        "gossip.service" | "gossip.privdata" => "gossip_service".to_owned(),
        "deliveryClient" => "gossip_service::delivery".to_owned(),
        "peer.gossip.mcs" => "peer_mcs".to_owned(),
        other => other.replace(['.', '-'], "_"),
    })
}

/// What is logged if nobody says.
const DEFAULT: &str = "info";

/// Stands for `::` while colons separate fields.
const PATH: &str = "\u{1}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_are_understood() {
        for (spec, expected) in [
            ("", "info"),
            ("info", "info"),
            ("WARNING", "warn"),
            ("gossip.state=debug:info", "gossip_state=debug,info"),
            ("gossip.comm,gossip.state=debug:warn", "gossip_comm=debug,gossip_state=debug,warn"),
            ("gossip.gossip=panic", "gossip_service::node=error"),
            ("info,gossip_service::node=trace", "info,gossip_service::node=trace"),
            ("gossip_comm=debug,warn", "gossip_comm=debug,warn"),
        ] {
            let filter = parse(spec).unwrap().to_string();
            let sorted = |text: &str| {
                let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                parts.sort();
                parts
            };
            assert_eq!(sorted(&filter), sorted(expected), "{spec}");
        }
    }

    #[test]
    fn what_is_no_level_and_no_logger_is_refused() {
        for spec in ["loud", "gossip=loud", "=debug", "a b=debug", "gossip.state=debug:loud"] {
            assert!(parse(spec).is_err(), "{spec}");
        }
    }
}
