//! The material of a network for development, and how it grows by an organisation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use gossip_api::ChannelId;
use peer_mcs::{Channels, LocalMsp, Mcs};
use prost::Message as _;
use time::Duration;

use super::client::{Broadcasting, Client};
use super::genesis::{self, Plan, org_group};
use super::material::{LONG, Member, Org, write};
use super::update::{adding_org, config_of, removing_org, signed};
use crate::Failure;
use crate::fabric::config::{BatchSize, Config};
use crate::fabric::envelope::{Contents, Signer};
use crate::fabric::shapes::kind;

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Where; it must not be there yet.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the channel.
    #[arg(long, default_value = "trade")]
    channel: String,
    /// Organisations with peers.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=50))]
    orgs: u8,
    /// Peers of each organisation.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=100))]
    peers: u8,
    /// Endpoints of the orderer, as peers reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7050")]
    orderer: Vec<String>,
    /// Lets an identity expire: NAME=SECONDS, such as peer2.org2.test=40.
    #[arg(long, value_name = "NAME=SECONDS", value_parser = expiry)]
    expires: Vec<(String, i64)>,
    /// Transactions in a block at most.
    #[arg(long, default_value_t = 10)]
    batch_count: u32,
    /// Bytes in a block, preferably at most.
    #[arg(long, default_value_t = 2 << 20)]
    batch_bytes: u32,
    /// How long a transaction waits for others, such as 500ms.
    #[arg(long, default_value = "2s")]
    batch_timeout: String,
}

fn expiry(text: &str) -> Result<(String, i64), String> {
    let (name, seconds) = text.split_once('=').ok_or("not NAME=SECONDS")?;
    let seconds = seconds.parse().map_err(|_| format!("{seconds} is no number of seconds"))?;
    Ok((name.to_owned(), seconds))
}

/// Which organisation comes.
#[derive(Debug, Args)]
pub(crate) struct AddOrgArgs {
    /// The directory that `dev network` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the channel.
    #[arg(long, default_value = "trade")]
    channel: String,
    /// Number of the new organisation.
    #[arg(long)]
    org: u8,
    /// Peers of it.
    #[arg(long, default_value_t = 1)]
    peers: u8,
    /// Address of the orderer.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7050")]
    orderer: String,
}

/// Which organisation goes.
#[derive(Debug, Args)]
pub(crate) struct RemoveOrgArgs {
    /// The directory that `dev network` made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the channel.
    #[arg(long, default_value = "trade")]
    channel: String,
    /// Number of the organisation; not 1, whose administrator sends the update.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..))]
    org: u8,
    /// Address of the orderer.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7050")]
    orderer: String,
}

/// Writes identities and a genesis block.
pub(crate) fn create(args: &NetworkArgs) -> Result<(), Failure> {
    if args.dir.exists() {
        return Err(Failure::Config(format!(
            "{} is there already: name a directory that is not",
            args.dir.display()
        )));
    }
    let channel = channel_id(&args.channel)?;
    let orgs: Vec<Org> =
        (1..=args.orgs).map(|org| open(&args.dir, org)).collect::<Result<_, _>>()?;
    for org in &orgs {
        enrol(&args.dir, org, args.peers, &args.expires)?;
    }
    let orderer = Org::open(&args.dir.join("orgs"), "orderer.test", "OrdererMSP")?;
    let member = Member { name: "orderer.orderer.test", role: "orderer", valid_for: LONG };
    orderer.enrol(&args.dir.join("orderer"), &member)?;
    let plan = Plan {
        channel: &channel,
        orgs: &orgs,
        orderer: &orderer,
        endpoints: args.orderer.clone(),
        batch: BatchSize {
            max_message_count: args.batch_count,
            absolute_max_bytes: ABSOLUTE_MAX_BYTES,
            preferred_max_bytes: args.batch_bytes,
        },
        batch_timeout: args.batch_timeout.clone(),
        consenters: Vec::new(),
    };
    let block = genesis::block(&plan);
    for place in ["genesis.block", "orderer/genesis.block"] {
        write(&args.dir.join(place), &block)?;
    }
    println!("{}: {} organisations, channel {channel}", args.dir.display(), orgs.len());
    Ok(())
}

fn channel_id(name: &str) -> Result<ChannelId, Failure> {
    ChannelId::new(name).map_err(|error| Failure::Config(format!("--channel: {error}")))
}

fn open(dir: &Path, number: u8) -> Result<Org, Failure> {
    Org::open(&dir.join("orgs"), &format!("org{number}.test"), &format!("Org{number}MSP"))
}

/// The peers and the administrator of an organisation.
fn enrol(dir: &Path, org: &Org, peers: u8, expires: &[(String, i64)]) -> Result<(), Failure> {
    for number in 0..peers {
        let name = format!("peer{number}.{}", org.domain);
        let short = expires.iter().find(|(of, _)| *of == name);
        let valid_for = short.map_or(LONG, |(_, seconds)| Duration::seconds(*seconds));
        let member = Member { name: &name, role: "peer", valid_for };
        org.enrol(&dir.join("peers").join(&name), &member)?;
    }
    let name = format!("admin.{}", org.domain);
    let member = Member { name: &name, role: "admin", valid_for: LONG };
    org.enrol(&dir.join("users").join(&name), &member)
}

/// Who signs as `user` of `dir`.
pub(super) fn signer(home: &Path, msp_id: &str) -> Result<Signer, Failure> {
    let msp = LocalMsp::from_dir(&home.join("msp"), msp_id)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let identity = msp.identity().clone();
    Ok(Signer { identity, mcs: Arc::new(Mcs::new(Arc::new(msp), Arc::new(Channels::new()))) })
}

/// Makes an organisation, and lets those that are there vote it in.
pub(crate) fn add_org(args: &AddOrgArgs) -> Result<(), Failure> {
    let org = open(&args.dir, args.org)?;
    enrol(&args.dir, &org, args.peers, &[])?;
    let number = vote(&args.dir, &args.channel, &args.orderer, |channel, config| {
        adding_org(channel, config, (&org.msp_id, org_group(&org)))
    })?;
    println!("{} is in channel {} by block {number}", org.msp_id, args.channel);
    Ok(())
}

/// Lets those that are there vote an organisation out.
pub(crate) fn remove_org(args: &RemoveOrgArgs) -> Result<(), Failure> {
    let name = format!("Org{}MSP", args.org);
    let number = vote(&args.dir, &args.channel, &args.orderer, |channel, config| {
        removing_org(channel, config, &name)
    })?;
    println!("{name} is in channel {} no more by block {number}", args.channel);
    Ok(())
}

/// Sends an update with the signatures of every member's administrator; the number of its block.
fn vote(
    dir: &Path,
    channel: &str,
    orderer: &str,
    update: impl FnOnce(&ChannelId, &Config) -> Result<Bytes, String>,
) -> Result<u64, Failure> {
    let channel = channel_id(channel)?;
    let admin = |number: u8| dir.join("users").join(format!("admin.org{number}.test"));
    let client = Client::new(&admin(1), "Org1MSP", &dir.join("genesis.block"), orderer)?;
    let voting = async {
        let (newest, config_block) = client.newest_config(&channel).await?;
        let config = config_of(&config_block)?;
        let root = config.channel_group.as_ref();
        let members = root.and_then(|group| group.groups.get("Application"));
        let is_member =
            |name: &String| members.is_some_and(|members| members.groups.contains_key(name));
        let mut admins = Vec::new();
        for number in 1..=u8::MAX {
            let name = format!("Org{number}MSP");
            if is_member(&name) {
                let admin = signer(&admin(number), &name);
                admins.push(admin.map_err(|failure| failure.sentence().to_owned())?);
            }
        }
        let data = signed(update(&channel, &config)?, &admins)?;
        let envelope = client.us.signer.seal(Contents {
            kind: kind::CONFIG_UPDATE,
            channel: &channel,
            tls_cert_hash: Bytes::new(),
            is_transaction: false,
            data,
        });
        let envelope = envelope.map_err(|error| error.to_string())?;
        let mut broadcasting = Broadcasting::open(&client).await?;
        broadcasting.send(envelope.encode_to_vec().into()).await?;
        broadcasting.answer().await?;
        Ok(newest.saturating_add(1))
    };
    super::client::runtime()?.block_on(voting).map_err(Failure::Run)
}

const ABSOLUTE_MAX_BYTES: u32 = 49 << 20;
