//! `gossip-peer doctor`: what is wrong or soon will be, and what to do about it.

use std::net::ToSocketAddrs as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use gossip_api::{Expiration, MessageCryptoService as _};
use peer_mcs::{Channels, Mcs};
use serde::Serialize;

use crate::Failure;
use crate::client::ask_well;
use crate::config::{self, Config};
use crate::material::{self, Material, certificates};
use crate::status::Report;

/// Whose health.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The peer's configuration.
    #[arg(long, env = "GOSSIP_PEER_CONFIG", default_value = "core.yaml")]
    config: PathBuf,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    /// `ok`, `warn` or `bad`.
    verdict: Verdict,
    about: &'static str,
    found: String,
    /// What to do; nothing if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Bad,
}

fn ok(about: &'static str, found: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, about, found: found.into(), advice: None }
}

fn warn(about: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
    Finding { verdict: Verdict::Warn, about, found: found.into(), advice: Some(advice) }
}

fn bad(about: &'static str, found: impl Into<String>, advice: &'static str) -> Finding {
    Finding { verdict: Verdict::Bad, about, found: found.into(), advice: Some(advice) }
}

/// Looks at everything; fails if anything is bad.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let findings = examine(&args.config);
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    if args.json {
        let report = serde_json::json!({ "verdict": worst, "findings": findings });
        println!("{report}");
    } else {
        for finding in &findings {
            let word = match finding.verdict {
                Verdict::Ok => "ok  ",
                Verdict::Warn => "warn",
                Verdict::Bad => "BAD ",
            };
            println!("{word}  {:<12} {}", finding.about, finding.found);
            if let Some(advice) = finding.advice {
                println!("                   -> {advice}");
            }
        }
    }
    match worst {
        Verdict::Ok | Verdict::Warn => Ok(()),
        Verdict::Bad => Err(Failure::Run("the doctor found something bad".to_owned())),
    }
}

fn examine(file: &Path) -> Vec<Finding> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(failure) => {
            return vec![bad(
                "config",
                failure.0,
                "correct it; `gossip-peer config check` reads it again",
            )];
        }
    };
    let mut findings = vec![ok("config", format!("{} is readable", file.display()))];
    findings.extend(
        config
            .notices
            .costs
            .iter()
            .map(|cost| warn("config", cost.clone(), "remove the key to get our default")),
    );
    match material::load(&config) {
        Ok(material) => findings.extend(certificates_of(&config, &material)),
        Err(failure) => {
            findings.push(bad(
                "keys",
                failure.sentence(),
                "correct the file, its owner or its mode",
            ));
        }
    }
    findings.push(clock(&config));
    findings.extend(data_dir(&config.data_dir));
    findings.extend(addresses(&config));
    findings.extend(neighbours(file, &config));
    findings
}

fn certificates_of(config: &Config, material: &Material) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mcs = Mcs::new(std::sync::Arc::clone(&material.msp), std::sync::Arc::new(Channels::new()));
    match mcs.validate_identity(material.msp.identity()) {
        Ok(()) => findings.push(ok("identity", format!("{} accepts us", config.msp_id))),
        Err(error) => findings.push(bad(
            "identity",
            error.to_string(),
            "peer.mspConfigPath holds an identity that its own roots do not accept: enrol again, or correct cacerts",
        )),
    }
    for (what, expires) in expirations(config, material) {
        let about = "certificates";
        findings.push(match expires {
            Err(reason) => bad(about, format!("{what}: {reason}"), "replace the file"),
            Ok(None) => ok(about, format!("{what} never expires")),
            Ok(Some(days)) if days < 0 => bad(
                about,
                format!("{what} expired {} days ago", -days),
                "renew it now; SIGHUP reads a TLS certificate again, an identity takes a restart",
            ),
            Ok(Some(days)) if days < SOON_DAYS => {
                warn(about, format!("{what} expires in {days} days"), "renew it in time")
            }
            Ok(Some(days)) => ok(about, format!("{what} is good for {days} days")),
        });
    }
    let roots = material.tls.roots.len();
    findings.push(if roots == 0 {
        bad(
            "roots",
            "no TLS root is known",
            "add peer.tls.rootcert.file, or tlscacerts to the MSP directory",
        )
    } else {
        ok("roots", format!("{roots} TLS roots, besides those of the channels"))
    });
    findings
}

/// A certificate's name, and in how many days it expires; nothing if it never does.
type Expiry = (String, Result<Option<i64>, String>);

fn expirations(config: &Config, material: &Material) -> Vec<Expiry> {
    let mcs = Mcs::new(std::sync::Arc::clone(&material.msp), std::sync::Arc::new(Channels::new()));
    let identity = mcs.expiration(material.msp.identity()).map_err(|error| error.to_string());
    let identity = identity.map(|expiration| match expiration {
        Expiration::At(at) => Some(days_until(at.as_unix_seconds())),
        Expiration::Never => None,
    });
    let mut found = vec![("our identity".to_owned(), identity)];
    let mut files = vec![&config.tls.cert];
    files.extend(&config.tls.roots);
    if let Some(tls) = &config.operations.tls {
        files.push(&tls.cert);
        files.extend(&tls.client_roots);
    }
    for file in files {
        let days = certificates(file).map_err(|failure| failure.sentence().to_owned());
        let days = days.and_then(|chain| {
            let ends = chain.iter().map(|der| {
                let end = peer_mcs::certificate_expires(der).map_err(|error| error.to_string())?;
                Ok(days_until(end.as_unix_seconds()))
            });
            ends.collect::<Result<Vec<i64>, String>>().map(|days| days.into_iter().min())
        });
        found.push((file.display().to_string(), days));
    }
    found
}

/// One sentence for each certificate of ours that runs out soon; one that has run out stops a start.
pub(crate) fn expiring(config: &Config, material: &Material) -> Result<Vec<String>, Failure> {
    let mut soon = Vec::new();
    for (what, expires) in expirations(config, material) {
        match expires {
            Ok(Some(days)) if days < 0 => {
                return Err(Failure::Config(format!(
                    "{what} expired {} days ago: renew it",
                    -days
                )));
            }
            Ok(Some(days)) if days < SOON_DAYS => {
                soon.push(format!("{what} expires in {days} days: renew it in time"));
            }
            Ok(_) => {}
            Err(reason) => return Err(Failure::Config(format!("{what}: {reason}"))),
        }
    }
    Ok(soon)
}

fn days_until(seconds: i64) -> i64 {
    seconds.saturating_sub(now()).div_euclid(86_400)
}

fn now() -> i64 {
    gossip_comm::wall().as_unix_seconds()
}

/// A clock that lags behind the last change of a file on this machine has been set back.
fn clock(config: &Config) -> Finding {
    let newest = [&config.tls.cert, &config.msp_dir, &config.data_dir.join("epoch")]
        .into_iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|found| found.mtime())
        .max()
        .unwrap_or(0);
    let now = now();
    if newest > now.saturating_add(CLOCK_SLACK) {
        return bad(
            "clock",
            format!("the clock is {} s behind files written on this machine", newest - now),
            "set the clock, and let it follow a time server: certificates are judged by it",
        );
    }
    if now < BUILT_AFTER {
        return bad("clock", "the clock is years behind", "set the clock");
    }
    ok("clock", "not behind any file of ours; whether it follows a time server is not looked at")
}

fn data_dir(dir: &Path) -> Vec<Finding> {
    let about = "data";
    let Ok(found) = std::fs::metadata(dir) else {
        return vec![ok(about, format!("{} is made at the first start", dir.display()))];
    };
    let mut findings = Vec::new();
    let we = rustix::process::geteuid().as_raw();
    if found.uid() != we {
        findings.push(bad(
            about,
            format!("{} belongs to user {}, we are {we}", dir.display(), found.uid()),
            "change its owner to the user that the peer runs as, or run the doctor as that user",
        ));
    }
    if found.mode() & 0o077 != 0 {
        findings.push(warn(
            about,
            format!("{} is open to others (mode {:o})", dir.display(), found.mode() & 0o777),
            "chmod 700; the next start does it too",
        ));
    }
    match rustix::fs::statvfs(dir) {
        Ok(space) => {
            let free = space.f_bavail.saturating_mul(space.f_frsize) >> 20;
            findings.push(if free < FREE_MIB_MIN {
                warn(
                    about,
                    format!("{free} MiB free"),
                    "make room: a full disk stops every channel until there is some",
                )
            } else {
                ok(about, format!("{free} MiB free"))
            });
        }
        Err(error) => {
            findings.push(warn(about, format!("free space unknown: {error}"), "look at the disk"));
        }
    }
    findings
}

fn addresses(config: &Config) -> Vec<Finding> {
    let own = [Some(&config.internal_endpoint), config.external_endpoint.as_ref()];
    let own = own.into_iter().flatten();
    let mut findings: Vec<Finding> = own
        .map(|endpoint| match endpoint.as_str().to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(address)) if address.ip().is_unspecified() => bad(
                "endpoints",
                format!("{endpoint} is told to others, and nobody can dial it"),
                "set peer.gossip.endpoint, or peer.address, to an address of this machine",
            ),
            Ok(Some(address)) => ok("endpoints", format!("{endpoint} is {address} here")),
            Ok(None) | Err(_) => bad(
                "endpoints",
                format!("{endpoint} does not resolve"),
                "correct the name, or the resolver",
            ),
        })
        .collect();
    if config.external_endpoint.is_none() {
        findings.push(warn(
            "endpoints",
            "no peer.gossip.externalEndpoint: other organisations do not learn of this peer",
            "set it, unless that is meant",
        ));
    }
    if config.bootstrap.is_empty() {
        findings.push(warn(
            "endpoints",
            "peer.gossip.bootstrap is empty",
            "name a peer of the organisation, unless this is the first, or anchor peers suffice",
        ));
    }
    findings
}

/// What the running peer sees: only others can tell whether we can be reached.
fn neighbours(file: &Path, config: &Config) -> Vec<Finding> {
    let about = "neighbours";
    let report = ask_well(file, "GET", "/status", None).and_then(|body| {
        serde_json::from_str::<Report>(&body).map_err(|error| Failure::Run(error.to_string()))
    });
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            return vec![warn(
                about,
                format!("not looked at: {}", failure.sentence()),
                "start the peer and ask again: only others can tell whether it can be reached",
            )];
        }
    };
    let mut findings = Vec::new();
    findings.push(match (report.members.len(), report.dialled_us) {
        (0, _) => bad(
            about,
            "nobody is known",
            "look at peer.gossip.bootstrap, the firewall (UDP) and TLS roots",
        ),
        (known, 0) => warn(
            about,
            format!("{known} known, and none of them has dialled us"),
            "normal with one or two neighbours; else see that UDP reaches the endpoints we tell",
        ),
        (known, dialled) => {
            ok(about, format!("{known} known; {dialled} reached us at our endpoint"))
        }
    });
    for endpoint in &config.bootstrap {
        let ours = *endpoint == config.internal_endpoint;
        let known = report
            .members
            .iter()
            .any(|member| member.endpoint.as_deref() == Some(endpoint.as_str()));
        if !ours && !known {
            findings.push(warn(
                about,
                format!("nobody alive tells the bootstrap address {endpoint} as its own"),
                "that peer is down, of another organisation, or tells another endpoint",
            ));
        }
    }
    for channel in &report.channels {
        if let Some(reason) = &channel.stalled_reason {
            findings.push(warn(
                "channels",
                format!("{} waits: {reason}", channel.name),
                "see docs/operating.md",
            ));
        }
    }
    findings
}

/// A certificate that expires within so many days is worth a word.
const SOON_DAYS: i64 = 30;

/// Seconds that file times and the clock may differ.
const CLOCK_SLACK: i64 = 5;

/// 1 January 2026: this program is younger.
const BUILT_AFTER: i64 = 1_767_225_600;

/// Room that a peer should have.
const FREE_MIB_MIN: u64 = 1024;
