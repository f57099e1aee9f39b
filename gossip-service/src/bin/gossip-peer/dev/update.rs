//! Configuration updates: what they amount to, whether they are authorised, and how one is made.
//!
//! As Fabric's orderer judges them: versions of what was read and written, and for everything changed the
//! policy that it names itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip_api::{Block, ChannelId};
use peer_mcs::{Channel, Signed};
use prost::Message as _;

use crate::fabric::config::{
    Config, ConfigEnvelope, ConfigGroup, ConfigPolicy, ConfigSignature, ConfigUpdate,
    ConfigUpdateEnvelope, ConfigValue,
};
use crate::fabric::envelope::{self, Signer};
use crate::fabric::shapes::{Entries, SignatureHeader};

/// The configuration that a config block carries.
pub(super) fn config_of(block: &Block) -> Result<Config, String> {
    let wrong = |error: prost::DecodeError| format!("config block {}: {error}", block.number);
    let data = Entries::decode(block.data.clone()).map_err(wrong)?;
    let first = data.entries.first().ok_or("the config block is empty")?;
    let payload = envelope::open(first)?;
    let envelope = ConfigEnvelope::decode(payload.data).map_err(wrong)?;
    envelope.config.ok_or_else(|| "the config block has no configuration".into())
}

/// The configuration after `update`, which is a serialized `ConfigUpdateEnvelope`.
// fabric: common/configtx/update.go authorizeUpdate
pub(super) fn apply(view: &Channel, current: &Config, update: &Bytes) -> Result<Config, String> {
    let wrong = |error: prost::DecodeError| format!("the update does not decode: {error}");
    let envelope = ConfigUpdateEnvelope::decode(update.clone()).map_err(wrong)?;
    let update = ConfigUpdate::decode(envelope.config_update.clone()).map_err(wrong)?;
    if update.channel_id != view.id().as_str() {
        return Err(format!("the update is for channel {:?}", update.channel_id));
    }
    let now = current.channel_group.as_ref().ok_or("the configuration has no channel group")?;
    let read = update.read_set.unwrap_or_default();
    let write = update.write_set.ok_or("the update writes nothing")?;
    check_read(ROOT, now, &read)?;
    let signers = Signers::of(&envelope)?;
    let mut merging = Merging { view, signers, changes: 0 };
    let group = merging.group(&[], Some(now), Some(&read), &write)?;
    if merging.changes == 0 {
        return Err("the update changes nothing".into());
    }
    Ok(Config { sequence: current.sequence.saturating_add(1), channel_group: Some(group) })
}

/// Who signed an update, and what each of them signed.
struct Signers(Vec<(Bytes, Bytes, Bytes)>);

impl Signers {
    fn of(envelope: &ConfigUpdateEnvelope) -> Result<Self, String> {
        if envelope.signatures.len() > SIGNATURES_MAX {
            return Err(format!("more than {SIGNATURES_MAX} signatures"));
        }
        let signers = envelope.signatures.iter().map(|signature| {
            let header = SignatureHeader::decode(signature.signature_header.clone())
                .map_err(|error| format!("a signature header does not decode: {error}"))?;
            let message =
                [&signature.signature_header[..], &envelope.config_update[..]].concat().into();
            Ok((header.creator, message, signature.signature.clone()))
        });
        signers.collect::<Result<_, String>>().map(Self)
    }

    fn satisfy(&self, view: &Channel, path: &str) -> bool {
        let signed: Vec<Signed<'_>> = self
            .0
            .iter()
            .map(|(identity, message, signature)| Signed { identity, message, signature })
            .collect();
        view.is_satisfied(path, &signed)
    }
}

/// What was read must be as it still is.
// fabric: common/configtx/update.go verifyReadSet
fn check_read(path: &str, now: &ConfigGroup, read: &ConfigGroup) -> Result<(), String> {
    let differs = |name: &str, found: u64, version: u64| {
        format!("{path}/{name} was read at version {version} and is at version {found} now")
    };
    if now.version != read.version {
        return Err(differs("", now.version, read.version));
    }
    let gone = |name: &str| format!("{path}/{name} was read and is not there");
    for (name, value) in &read.values {
        let found = now.values.get(name).ok_or_else(|| gone(name))?.version;
        if found != value.version {
            return Err(differs(name, found, value.version));
        }
    }
    for (name, policy) in &read.policies {
        let found = now.policies.get(name).ok_or_else(|| gone(name))?.version;
        if found != policy.version {
            return Err(differs(name, found, policy.version));
        }
    }
    for (name, group) in &read.groups {
        let found = now.groups.get(name).ok_or_else(|| gone(name))?;
        check_read(&format!("{path}/{name}"), found, group)?;
    }
    Ok(())
}

/// Something that has a version and names the policy by which it may be changed.
trait Item: Clone {
    fn version(&self) -> u64;
    fn mod_policy(&self) -> &str;
}

impl Item for ConfigValue {
    fn version(&self) -> u64 {
        self.version
    }
    fn mod_policy(&self) -> &str {
        &self.mod_policy
    }
}

impl Item for ConfigPolicy {
    fn version(&self) -> u64 {
        self.version
    }
    fn mod_policy(&self) -> &str {
        &self.mod_policy
    }
}

impl Item for ConfigGroup {
    fn version(&self) -> u64 {
        self.version
    }
    fn mod_policy(&self) -> &str {
        &self.mod_policy
    }
}

type Items<T> = BTreeMap<String, T>;

struct Merging<'a> {
    view: &'a Channel,
    signers: Signers,
    changes: usize,
}

impl Merging<'_> {
    /// Whether the item is changed; an error if it may not be changed so.
    // fabric: common/configtx/update.go verifyDeltaSet
    fn is_changed<T: Item>(
        &mut self,
        path: &[&str],
        name: &str,
        (now, read, write): (Option<&T>, Option<&T>, &T),
    ) -> Result<bool, String> {
        if read.is_some_and(|read| read.version() == write.version()) {
            return Ok(false);
        }
        let place = format!("{ROOT}/{}/{name}", path.join("/"));
        self.changes = self.changes.saturating_add(1);
        let Some(now) = now else {
            if write.version() != 0 {
                return Err(format!("{place} is new and has version {}", write.version()));
            }
            return Ok(true);
        };
        let next = now.version().saturating_add(1);
        if write.version() != next {
            return Err(format!("{place} must get version {next}, not {}", write.version()));
        }
        let policy = match now.mod_policy().strip_prefix("/Channel/") {
            Some(absolute) => absolute.to_owned(),
            None => path.iter().chain([&now.mod_policy()]).copied().collect::<Vec<_>>().join("/"),
        };
        if !self.signers.satisfy(self.view, &policy) {
            return Err(format!("policy {policy} over {place} is not satisfied by the signatures"));
        }
        Ok(true)
    }

    // fabric: common/configtx/configmap.go recurseConfigMap
    fn group(
        &mut self,
        path: &[&str],
        now: Option<&ConfigGroup>,
        read: Option<&ConfigGroup>,
        write: &ConfigGroup,
    ) -> Result<ConfigGroup, String> {
        let is_changed = self.is_changed(path, "", (now, read, write))?;
        let nothing = ConfigGroup::default();
        let now = now.unwrap_or(&nothing);
        let read = read.unwrap_or(&nothing);
        let values = self.items(path, is_changed, (&now.values, &read.values, &write.values))?;
        let policies =
            self.items(path, is_changed, (&now.policies, &read.policies, &write.policies))?;
        let mut groups = if is_changed { BTreeMap::new() } else { now.groups.clone() };
        for (name, written) in &write.groups {
            let known = now.groups.get(name);
            if known.is_none() && !is_changed {
                return Err(format!(
                    "{} does not grow by {name}: its version stays",
                    path.join("/")
                ));
            }
            let below: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
            let merged = self.group(&below, known, read.groups.get(name), written)?;
            groups.insert(name.clone(), merged);
        }
        let head = if is_changed { write } else { now };
        Ok(ConfigGroup {
            version: head.version,
            mod_policy: head.mod_policy.clone(),
            groups,
            values,
            policies,
        })
    }

    fn items<T: Item>(
        &mut self,
        path: &[&str],
        is_changed: bool,
        (now, read, write): (&Items<T>, &Items<T>, &Items<T>),
    ) -> Result<BTreeMap<String, T>, String> {
        let mut merged = if is_changed { BTreeMap::new() } else { now.clone() };
        for (name, written) in write {
            let known = now.get(name);
            if known.is_none() && !is_changed {
                return Err(format!(
                    "{} does not grow by {name}: its version stays",
                    path.join("/")
                ));
            }
            let changed = self.is_changed(path, name, (known, read.get(name), written))?;
            let item = if changed { Some(written) } else { known };
            let item = item.ok_or_else(|| format!("{name} is written as it was, and was not"))?;
            merged.insert(name.clone(), item.clone());
        }
        Ok(merged)
    }
}

/// The update that adds `group` as organisation `name`, without signatures.
// fabric: internal/configtxlator/update/update.go Compute
pub(super) fn adding_org(
    channel: &ChannelId,
    current: &Config,
    (name, group): (&str, ConfigGroup),
) -> Result<Bytes, String> {
    changing_orgs(channel, current, |orgs| match orgs.insert(name.to_owned(), group) {
        Some(_) => Err(format!("{name} is in the channel already")),
        None => Ok(()),
    })
}

/// The update that removes organisation `name`, without signatures.
pub(super) fn removing_org(
    channel: &ChannelId,
    current: &Config,
    name: &str,
) -> Result<Bytes, String> {
    changing_orgs(channel, current, |orgs| match orgs.remove(name) {
        Some(_) => Ok(()),
        None => Err(format!("{name} is not in the channel")),
    })
}

fn changing_orgs(
    channel: &ChannelId,
    current: &Config,
    change: impl FnOnce(&mut BTreeMap<String, ConfigGroup>) -> Result<(), String>,
) -> Result<Bytes, String> {
    let root = current.channel_group.as_ref().ok_or("the configuration has no channel group")?;
    let application = root.groups.get(APPLICATION).ok_or("the channel has no applications")?;
    let read = members_of(application);
    let mut write = ConfigGroup {
        version: application.version.saturating_add(1),
        mod_policy: application.mod_policy.clone(),
        ..read.clone()
    };
    change(&mut write.groups)?;
    let below = |group: ConfigGroup| ConfigGroup {
        version: root.version,
        groups: BTreeMap::from([(APPLICATION.to_owned(), group)]),
        ..ConfigGroup::default()
    };
    let update = ConfigUpdate {
        channel_id: channel.as_str().to_owned(),
        read_set: Some(below(read)),
        write_set: Some(below(write)),
    };
    Ok(update.encode_to_vec().into())
}

/// The group with the versions of its members, and nothing of their contents.
fn members_of(group: &ConfigGroup) -> ConfigGroup {
    let value =
        |value: &ConfigValue| ConfigValue { version: value.version, ..ConfigValue::default() };
    let policy =
        |policy: &ConfigPolicy| ConfigPolicy { version: policy.version, ..ConfigPolicy::default() };
    let below =
        |group: &ConfigGroup| ConfigGroup { version: group.version, ..ConfigGroup::default() };
    ConfigGroup {
        version: group.version,
        values: group.values.iter().map(|(name, item)| (name.clone(), value(item))).collect(),
        policies: group.policies.iter().map(|(name, item)| (name.clone(), policy(item))).collect(),
        groups: group.groups.iter().map(|(name, item)| (name.clone(), below(item))).collect(),
        mod_policy: String::new(),
    }
}

/// The update with the signatures of `signers`.
pub(super) fn signed(update: Bytes, signers: &[Signer]) -> Result<Bytes, String> {
    let mut signatures = Vec::new();
    for signer in signers {
        let header = signer.signature_header().map_err(|error| error.to_string())?;
        let message = [&header[..], &update[..]].concat();
        let signature = signer.sign(&message).map_err(|error| error.to_string())?;
        signatures.push(ConfigSignature { signature_header: header, signature });
    }
    Ok(ConfigUpdateEnvelope { config_update: update, signatures }.encode_to_vec().into())
}

const ROOT: &str = "Channel";
const APPLICATION: &str = "Application";
/// Signatures looked at under one update.
const SIGNATURES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::bench::{Bench, Who};
    use crate::dev::genesis::org_group;

    struct Case {
        bench: Bench,
        view: Channel,
        config: Config,
        update: Bytes,
    }

    impl Case {
        async fn new() -> Self {
            let bench = Bench::with_blocks(1).await;
            let view = Channel::from_config_block(&bench.genesis).expect("a genesis block");
            let config = config_of(&bench.genesis).expect("a configuration");
            let group = org_group(&bench.another_org());
            let update = adding_org(&bench.channel, &config, ("Org2MSP", group)).expect("new");
            Self { bench, view, config, update }
        }

        fn apply(&self, update: &Bytes, signers: &[Who]) -> Result<Config, String> {
            let signers: Vec<Signer> = signers.iter().map(|who| self.bench.signer(*who)).collect();
            let envelope = signed(update.clone(), &signers).expect("signed");
            apply(&self.view, &self.config, &envelope)
        }

        /// The update with its sets changed.
        fn changed(&self, change: impl FnOnce(&mut ConfigGroup, &mut ConfigGroup)) -> Bytes {
            let mut update = ConfigUpdate::decode(self.update.clone()).expect("an update");
            let (mut read, mut write) =
                (update.read_set.unwrap_or_default(), update.write_set.unwrap_or_default());
            change(&mut read, &mut write);
            (update.read_set, update.write_set) = (Some(read), Some(write));
            update.encode_to_vec().into()
        }
    }

    fn application(group: &mut ConfigGroup) -> &mut ConfigGroup {
        group.groups.get_mut(APPLICATION).expect("it is there")
    }

    #[tokio::test]
    async fn an_update_adds_what_it_says_and_leaves_the_rest() {
        let case = Case::new().await;
        let next = case.apply(&case.update, &[Who::Admin]).expect("authorised");
        assert_eq!(next.sequence, 1);
        let (mut before, mut after) = (
            case.config.channel_group.clone().unwrap_or_default(),
            next.channel_group.unwrap_or_default(),
        );
        assert_eq!(application(&mut after).version, application(&mut before).version + 1);
        assert!(application(&mut after).groups.remove("Org2MSP").is_some());
        application(&mut after).version = application(&mut before).version;
        assert_eq!(after, before);
    }

    #[tokio::test]
    async fn an_organisation_that_was_added_can_be_removed_once() {
        let mut case = Case::new().await;
        let before = case.config.channel_group.clone().unwrap_or_default();
        case.config = case.apply(&case.update, &[Who::Admin]).expect("authorised");
        let update = removing_org(&case.bench.channel, &case.config, "Org2MSP").expect("there");
        let mut next = case.apply(&update, &[Who::Admin]).expect("authorised");
        let mut after = next.channel_group.take().unwrap_or_default();
        application(&mut after).version -= 2;
        assert_eq!(after, before);
        next.channel_group = Some(after);
        let again = removing_org(&case.bench.channel, &next, "Org2MSP").expect_err("gone");
        assert!(again.contains("is not in the channel"), "{again}");
    }

    #[tokio::test]
    async fn who_is_no_administrator_changes_nothing() {
        let case = Case::new().await;
        for signers in [&[][..], &[Who::Peer], &[Who::Stranger], &[Who::Orderer]] {
            let refused = case.apply(&case.update, signers).expect_err("not authorised");
            assert!(refused.contains("Application/Admins"), "{signers:?}: {refused}");
        }
    }

    #[tokio::test]
    async fn versions_that_do_not_fit_are_refused() {
        let case = Case::new().await;
        let refused = |update: Bytes, word: &str| {
            let told = case.apply(&update, &[Who::Admin]).expect_err(word);
            assert!(told.contains(word), "{word}: {told}");
        };
        refused(case.changed(|read, _| read.version = 7), "was read at version 7");
        refused(case.changed(|_, write| application(write).version += 1), "must get version 1");
        refused(case.changed(|_, write| application(write).version = 0), "does not grow");
        refused(
            case.changed(|_, write| {
                application(write).groups.get_mut("Org2MSP").expect("added").version = 3;
            }),
            "is new and has version 3",
        );
        refused(case.changed(|read, write| *write = read.clone()), "changes nothing");
        refused(
            case.changed(|read, _| {
                application(read).groups.insert("Org9MSP".into(), ConfigGroup::default());
            }),
            "Org9MSP was read and is not there",
        );
    }

    #[tokio::test]
    async fn an_update_counts_once() {
        let mut case = Case::new().await;
        case.config = case.apply(&case.update, &[Who::Admin]).expect("authorised");
        let again = case.apply(&case.update, &[Who::Admin]).expect_err("a replay");
        assert!(again.contains("was read at version 0"), "{again}");
        let channel = case.bench.channel.clone();
        let group = org_group(&case.bench.another_org());
        let again = adding_org(&channel, &case.config, ("Org2MSP", group)).expect_err("there");
        assert!(again.contains("in the channel already"), "{again}");
    }
}
