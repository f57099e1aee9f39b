//! Policies of a channel's configuration, evaluated as Fabric evaluates them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::IdentityError;
use crate::fabric;
use crate::fabric::block::SerializedIdentity;
use crate::fabric::config::{
    ConfigGroup, ImplicitMetaPolicy, MspPrincipal, Policy as PolicyShape, Rule, SignaturePolicy,
    SignaturePolicyEnvelope,
};
use crate::msp::Msp;
use crate::msp::identity::Identity;

/// The MSPs of a channel, by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Msps(pub(crate) BTreeMap<String, Arc<Msp>>);

impl Msps {
    /// The identity in `serialized`, in the MSP that it claims to be of.
    ///
    /// # Errors
    /// [`IdentityError::Undecodable`] or [`IdentityError::NoMsp`].
    // fabric: msp/mspmgrimpl.go DeserializeIdentity
    pub(crate) fn deserialize(&self, serialized: &[u8]) -> Result<Arc<Identity>, IdentityError> {
        let identity = SerializedIdentity::decode(serialized)
            .map_err(|error| IdentityError::Undecodable(error.to_string()))?;
        self.0
            .get(identity.mspid)
            .ok_or_else(|| IdentityError::NoMsp(format!("msp {:?} is unknown", identity.mspid)))?
            .deserialize_bytes(identity.id_bytes)
    }

    fn satisfies(&self, identity: &Identity, principal: &MspPrincipal) -> bool {
        self.0.get(&*identity.msp).is_some_and(|msp| msp.satisfies(identity, principal))
    }

    /// Those whose signature verifies, each once, in order.
    ///
    /// A bad signature first does not spoil a good one of the same identity after it; of an identity that
    /// is in already, no further signature is checked.
    // fabric: common/policies/policy.go SignatureSetToValidIdentities
    pub(crate) fn signers(&self, signed: &[SignedData<'_>]) -> Vec<Arc<Identity>> {
        let mut seen = BTreeSet::new();
        let mut signers = Vec::new();
        for data in signed {
            let Ok(identity) = self.deserialize(&data.identity) else { continue };
            let key = (identity.msp.clone(), identity.fingerprint);
            if !seen.contains(&key) && identity.verify(&data.message, data.signature).is_ok() {
                seen.insert(key);
                signers.push(identity);
            }
        }
        signers
    }
}

/// A message, who is said to have signed it, and the signature.
#[derive(Debug)]
pub(crate) struct SignedData<'a> {
    pub(crate) identity: std::borrow::Cow<'a, [u8]>,
    pub(crate) message: std::borrow::Cow<'a, [u8]>,
    pub(crate) signature: &'a [u8],
}

/// The policies of a configuration tree, by their path below `/Channel/`.
#[derive(Debug, Default)]
pub(crate) struct Policies(BTreeMap<String, Arc<Policy>>);

impl Policies {
    /// Compiles the policies of `group` and of all groups below it.
    ///
    /// # Errors
    /// If one is missing, of an unknown kind or does not compile: Fabric then refuses the configuration.
    // fabric: common/policies/policy.go NewManagerImpl
    pub(crate) fn compile(group: &ConfigGroup) -> Result<Self, String> {
        let mut children = BTreeMap::new();
        for (name, child) in &group.groups {
            children.insert(name, Self::compile(child)?);
        }
        let mut policies = BTreeMap::new();
        for (name, entry) in &group.policies {
            let shape = entry.policy.as_ref().ok_or_else(|| format!("policy {name} is missing"))?;
            let policy = Policy::compile(shape, &children)
                .map_err(|reason| format!("policy {name}: {reason}"))?;
            policies.insert(name.clone(), Arc::new(policy));
        }
        for (child_name, child) in children {
            for (name, policy) in child.0 {
                policies.insert(format!("{child_name}/{name}"), policy);
            }
        }
        Ok(Self(policies))
    }

    /// Whether `signers` satisfy the policy at `path`; a policy that is not there is never satisfied.
    pub(crate) fn are_satisfied(&self, path: &str, msps: &Msps, signers: &[Arc<Identity>]) -> bool {
        self.0.get(path).is_some_and(|policy| policy.is_satisfied(msps, signers))
    }
}

#[derive(Debug)]
enum Policy {
    Signature {
        rule: Rule,
        principals: Vec<MspPrincipal>,
    },
    /// As many policies of the groups below must be satisfied as the threshold says.
    ImplicitMeta {
        policies: Vec<Option<Arc<Policy>>>,
        threshold: usize,
    },
}

impl Policy {
    fn compile(
        shape: &PolicyShape,
        children: &BTreeMap<&String, Policies>,
    ) -> Result<Self, String> {
        match shape.kind {
            PolicyShape::SIGNATURE => Self::signature(fabric::decode(&shape.value)?),
            PolicyShape::IMPLICIT_META => {
                Self::implicit_meta(&fabric::decode(&shape.value)?, children)
            }
            kind => Err(format!("policies of kind {kind} are not known")),
        }
    }

    // fabric: common/cauthdsl/policy.go NewPolicy
    fn signature(envelope: SignaturePolicyEnvelope) -> Result<Self, String> {
        if envelope.version != 0 {
            return Err(format!("version {} is not known", envelope.version));
        }
        let rule = envelope.rule.and_then(|rule| rule.rule).ok_or("rule is empty")?;
        check_rule(&rule, envelope.identities.len())?;
        Ok(Self::Signature { rule, principals: envelope.identities })
    }

    // fabric: common/policies/implicitmeta.go NewImplicitMetaPolicy
    fn implicit_meta(
        shape: &ImplicitMetaPolicy,
        children: &BTreeMap<&String, Policies>,
    ) -> Result<Self, String> {
        let policies: Vec<_> =
            children.values().map(|child| child.0.get(&shape.sub_policy).cloned()).collect();
        let threshold = match shape.rule {
            // Without groups below, nothing is any, and the majority, of nothing.
            _ if policies.is_empty() => 0,
            ImplicitMetaPolicy::ANY => 1,
            ImplicitMetaPolicy::ALL => policies.len(),
            ImplicitMetaPolicy::MAJORITY => policies.len() / 2 + 1,
            rule => return Err(format!("rule {rule} is not known")),
        };
        Ok(Self::ImplicitMeta { policies, threshold })
    }

    fn is_satisfied(&self, msps: &Msps, signers: &[Arc<Identity>]) -> bool {
        match self {
            Self::Signature { rule, principals } => {
                evaluate(rule, principals, msps, signers, &mut vec![false; signers.len()])
            }
            Self::ImplicitMeta { policies, threshold } => {
                let satisfied = policies
                    .iter()
                    .flatten()
                    .filter(|policy| policy.is_satisfied(msps, signers))
                    .take(*threshold)
                    .count();
                satisfied >= *threshold
            }
        }
    }
}

/// Whether every rule below names a principal that is there.
// fabric: common/cauthdsl/cauthdsl.go compile
fn check_rule(rule: &Rule, principals: usize) -> Result<(), String> {
    match rule {
        Rule::SignedBy(index) if usize::try_from(*index).is_ok_and(|at| at < principals) => Ok(()),
        Rule::SignedBy(index) => Err(format!("principal {index} of {principals} is not there")),
        Rule::NOutOf(gate) => gate.rules.iter().try_for_each(|below| match below {
            SignaturePolicy { rule: Some(rule) } => check_rule(rule, principals),
            SignaturePolicy { rule: None } => Err("rule is empty".into()),
        }),
    }
}

/// Evaluates a rule; `used` marks signers that count already, and is changed where the rule is satisfied.
// fabric: common/cauthdsl/cauthdsl.go compile
fn evaluate(
    rule: &Rule,
    principals: &[MspPrincipal],
    msps: &Msps,
    signers: &[Arc<Identity>],
    used: &mut Vec<bool>,
) -> bool {
    match rule {
        Rule::SignedBy(index) => {
            let principal = usize::try_from(*index).ok().and_then(|at| principals.get(at));
            let Some(principal) = principal else { return false };
            let free = signers
                .iter()
                .zip(used.iter_mut())
                .find(|(signer, used)| !**used && msps.satisfies(signer, principal));
            free.map(|(_, used)| *used = true).is_some()
        }
        Rule::NOutOf(gate) => {
            let mut satisfied = 0;
            for rule in gate.rules.iter().filter_map(|below| below.rule.as_ref()) {
                let mut used_below = used.clone();
                if evaluate(rule, principals, msps, signers, &mut used_below) {
                    satisfied += 1;
                    *used = used_below;
                }
            }
            satisfied >= gate.n
        }
    }
}

#[cfg(test)]
mod tests;
