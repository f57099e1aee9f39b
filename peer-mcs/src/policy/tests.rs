//! Policies, gate by gate.

use gossip_api::{Block, BlockCodec};

use super::*;
use crate::fabric::config::{ConfigPolicy, MspRole, NOutOf};
use crate::{Channel, FabricCodec};

fn fixture(path: &str) -> bytes::Bytes {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap().into()
}

fn trade() -> Channel {
    let genesis: Block = FabricCodec.split(&fixture("trade/genesis.block")).unwrap();
    Channel::from_config_block(&genesis).unwrap()
}

fn signers(channel: &Channel, names: &[&str]) -> Vec<Arc<Identity>> {
    let read = |name: &&str| fixture(&format!("identities/{name}.bin"));
    names.iter().map(|name| channel.msps.deserialize(&read(name)).unwrap()).collect()
}

fn role(msp: &str, role: i32) -> MspPrincipal {
    let shape = MspRole { msp_identifier: msp.into(), role };
    MspPrincipal { classification: MspPrincipal::ROLE, principal: fabric::encode(&shape) }
}

fn by(index: i32) -> SignaturePolicy {
    SignaturePolicy { rule: Some(Rule::SignedBy(index)) }
}

fn of(n: i32, rules: Vec<SignaturePolicy>) -> SignaturePolicy {
    SignaturePolicy { rule: Some(Rule::NOutOf(NOutOf { n, rules })) }
}

fn signature_policy(rule: SignaturePolicy, identities: Vec<MspPrincipal>) -> PolicyShape {
    let envelope = SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities };
    PolicyShape { kind: PolicyShape::SIGNATURE, value: fabric::encode(&envelope) }
}

fn check(rule: SignaturePolicy, principals: &[MspPrincipal], names: &[&str]) -> bool {
    let channel = trade();
    let policy =
        Policy::compile(&signature_policy(rule, principals.to_vec()), &BTreeMap::new()).unwrap();
    policy.is_satisfied(&channel.msps, &signers(&channel, names))
}

const MEMBER: i32 = 0;
const ADMIN: i32 = 1;
const PEER: i32 = 3;

#[test]
fn each_signer_counts_once() {
    let principals = [role("Org1MSP", MEMBER), role("Org2MSP", MEMBER)];
    let both = of(2, vec![by(0), by(1)]);
    assert!(check(both.clone(), &principals, &["peer0.org1", "peer0.org2"]));
    assert!(!check(both, &principals, &["peer0.org1"]));
    let twice = of(2, vec![by(0), by(0)]);
    assert!(!check(twice.clone(), &principals, &["peer0.org1"]));
    assert!(check(twice, &principals, &["peer0.org1", "peer1.org1"]));
    assert!(check(of(0, vec![]), &principals, &[]));
    assert!(!check(of(1, vec![]), &principals, &["peer0.org1"]));
}

#[test]
fn the_first_that_fits_is_used_even_where_another_choice_would_do() {
    // Fabric does not go back: the admin is used up as a member.
    let principals = [role("Org1MSP", MEMBER), role("Org1MSP", ADMIN)];
    let rule = of(2, vec![by(0), by(1)]);
    assert!(!check(rule.clone(), &principals, &["admin.org1", "peer0.org1"]));
    assert!(check(rule, &principals, &["peer0.org1", "admin.org1"]));
}

#[test]
fn a_gate_that_fails_uses_nobody_up() {
    let principals = [role("Org1MSP", PEER), role("Org2MSP", PEER), role("OrdererMSP", MEMBER)];
    let failing = of(2, vec![by(0), by(2)]);
    let rule = of(1, vec![failing, of(2, vec![by(0), by(1)])]);
    assert!(check(rule, &principals, &["peer0.org1", "peer0.org2"]));
}

#[test]
fn roles_are_told_by_units() {
    let fits = |role_number, name| check(by(0), &[role("Org1MSP", role_number)], &[name]);
    let roles = |name| [0, 1, 2, 3, 4].map(|number| fits(number, name));
    assert_eq!(roles("peer0.org1"), [true, false, false, true, false]);
    assert_eq!(roles("user1.org1"), [true, false, true, false, false]);
    assert_eq!(roles("admin.org1"), [true, true, false, false, false]);
    assert_eq!(roles("peer0.org2"), [false; 5]);
    assert!(check(by(0), &[role("OrdererMSP", 4)], &["orderer1.orderer"]));
    assert!(!check(by(0), &[role("Org1MSP", 9)], &["peer0.org1"]));
}

#[test]
fn other_principals_are_judged_too() {
    let identity = |name: &str| MspPrincipal {
        classification: MspPrincipal::IDENTITY,
        principal: fixture(&format!("identities/{name}.bin")),
    };
    assert!(check(by(0), &[identity("peer0.org1")], &["peer0.org1"]));
    assert!(!check(by(0), &[identity("peer0.org1")], &["peer1.org1"]));
    let combined = |principals| MspPrincipal {
        classification: MspPrincipal::COMBINED,
        principal: fabric::encode(&CombinedShape { principals }),
    };
    let both = combined(vec![role("Org1MSP", PEER), identity("peer0.org1")]);
    assert!(check(by(0), std::slice::from_ref(&both), &["peer0.org1"]));
    assert!(!check(by(0), &[both], &["peer1.org1"]));
    assert!(!check(by(0), &[combined(vec![])], &["peer0.org1"]));
    let mut nested = role("Org1MSP", PEER);
    for _ in 0..40 {
        nested = combined(vec![nested]);
    }
    assert!(!check(by(0), &[nested], &["peer0.org1"]), "deeper than anyone nests by hand");
    let channel = trade();
    let certifiers = signers(&channel, &["peer0.org1"])[0].certifiers.unwrap();
    let unit = |certifiers: &[u8]| MspPrincipal {
        classification: MspPrincipal::ORGANIZATION_UNIT,
        principal: fabric::encode(&UnitShape {
            msp_identifier: "Org1MSP".into(),
            organizational_unit_identifier: "peer".into(),
            certifiers_identifier: certifiers.to_vec().into(),
        }),
    };
    assert!(check(by(0), &[unit(&certifiers)], &["peer0.org1"]));
    assert!(!check(by(0), &[unit(&certifiers)], &["user1.org1"]));
    assert!(!check(by(0), &[unit(&[0; 32])], &["peer0.org1"]));
    let nobody = MspPrincipal { classification: 9, principal: bytes::Bytes::new() };
    assert!(!check(by(0), &[nobody], &["peer0.org1"]));
}

use crate::fabric::config::{CombinedPrincipal as CombinedShape, OrganizationUnit as UnitShape};

/// A group with as many groups below as there are policies called `P`; nothing for one without.
fn group(rule: i32, below: &[Option<PolicyShape>]) -> ConfigGroup {
    let meta = ImplicitMetaPolicy { sub_policy: "P".into(), rule };
    let entry = |policy| ConfigPolicy { policy: Some(policy), ..ConfigPolicy::default() };
    let mut top = ConfigGroup::default();
    let meta = PolicyShape { kind: PolicyShape::IMPLICIT_META, value: fabric::encode(&meta) };
    top.policies.insert("Meta".into(), entry(meta));
    for (index, policy) in below.iter().enumerate() {
        let mut child = ConfigGroup::default();
        if let Some(policy) = policy {
            child.policies.insert("P".into(), entry(policy.clone()));
        }
        top.groups.insert(format!("org{index}"), child);
    }
    top
}

#[test]
fn implicit_meta_policies_count_the_groups_below() {
    let channel = trade();
    let yes = || Some(signature_policy(by(0), vec![role("Org1MSP", PEER)]));
    let no = || Some(signature_policy(by(0), vec![role("Org2MSP", PEER)]));
    let check = |rule, below: &[Option<PolicyShape>]| {
        let policies = Policies::compile(&group(rule, below)).unwrap();
        policies.are_satisfied("Meta", &channel.msps, &signers(&channel, &["peer0.org1"]))
    };
    let (any, all, majority) =
        (ImplicitMetaPolicy::ANY, ImplicitMetaPolicy::ALL, ImplicitMetaPolicy::MAJORITY);
    assert!(check(any, &[no(), yes()]) && !check(any, &[no(), no()]));
    assert!(check(all, &[yes(), yes()]) && !check(all, &[yes(), no()]));
    assert!(check(majority, &[yes(), yes(), no()]) && !check(majority, &[yes(), no()]));
    assert!(!check(majority, &[yes(), no(), None]), "a group without the policy counts");
    assert!([any, all, majority].iter().all(|rule| check(*rule, &[])));
}

#[test]
fn what_does_not_compile_is_refused() {
    let compile = |shape| {
        Policies::compile(&{
            let mut group = ConfigGroup::default();
            group
                .policies
                .insert("P".into(), ConfigPolicy { policy: shape, ..ConfigPolicy::default() });
            group
        })
    };
    assert!(compile(None).is_err());
    assert!(compile(Some(PolicyShape { kind: 7, ..PolicyShape::default() })).is_err());
    assert!(compile(Some(signature_policy(by(0), vec![]))).is_err());
    assert!(compile(Some(signature_policy(by(-1), vec![role("Org1MSP", 0)]))).is_err());
    assert!(compile(Some(signature_policy(SignaturePolicy { rule: None }, vec![]))).is_err());
    assert!(Policies::compile(&group(9, &[None])).is_err());
    let mut deep = by(0);
    for _ in 0..1_000 {
        deep = of(1, vec![deep]);
    }
    let deep = signature_policy(deep, vec![role("Org1MSP", 0)]);
    assert!(compile(Some(deep)).is_err(), "nested too deeply to be read");
}

#[test]
fn a_policy_that_is_not_there_is_never_satisfied() {
    let channel = trade();
    let signers = signers(&channel, &["peer0.org1"]);
    assert!(!channel.policies.are_satisfied("Nosuch", &channel.msps, &signers));
    assert!(channel.policies.are_satisfied("Application/Readers", &channel.msps, &signers));
    assert!(!channel.policies.are_satisfied("Application/Admins", &channel.msps, &signers));
}
