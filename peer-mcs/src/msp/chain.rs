//! From a certificate to a root, by the rules of Go's `crypto/x509` as Fabric calls it.
//!
//! Two of Fabric's rules surprise: the clock is not looked at (a chain is judged one second after the
//! leaf's own beginning), and an extended key usage without TLS server authentication is refused, because
//! that is what Go checks unless it is told otherwise.

use std::sync::Arc;

use super::certificate::Certificate;

/// The certificates that a chain may pass through and end at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pools {
    pub(crate) roots: Vec<Arc<Certificate>>,
    pub(crate) intermediates: Vec<Arc<Certificate>>,
}

/// A chain: the leaf first, the root last; of one certificate if the leaf is itself a root.
pub(crate) type Chain = Vec<Arc<Certificate>>;

impl Pools {
    /// The one chain from `leaf` to a root, one second after the leaf's beginning.
    ///
    /// # Errors
    /// If there is none, or more than one.
    // fabric: msp/mspimpl.go getUniqueValidationChain
    pub(crate) fn unique_chain(&self, leaf: &Arc<Certificate>) -> Result<Chain, String> {
        let mut chains = self.chains(leaf)?;
        match (chains.pop(), chains.len()) {
            (Some(chain), 0) => Ok(chain),
            (_, others) => Err(format!("exactly one chain is wanted, got {}", others + 1)),
        }
    }

    // fabric: Go crypto/x509 Certificate.Verify
    fn chains(&self, leaf: &Arc<Certificate>) -> Result<Vec<Chain>, String> {
        let mut search = Search {
            pools: self,
            at: leaf.not_before.saturating_add(1),
            checks_left: MAX_SIGNATURE_CHECKS,
            found: Vec::new(),
            last_error: "issuer is unknown".into(),
        };
        search.check(leaf, Place::Leaf, &[])?;
        if self.roots.iter().any(|root| root.raw == leaf.raw) {
            search.found.push(vec![leaf.clone()]);
        } else {
            search.extend(&vec![leaf.clone()]);
        }
        search.found.retain(|chain| chain.iter().all(|c| !c.extensions.excludes_server_auth));
        if search.found.is_empty() { Err(search.last_error) } else { Ok(search.found) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Leaf,
    Intermediate,
    Root,
}

struct Search<'a> {
    pools: &'a Pools,
    /// Seconds since 1970 at which every certificate of the chain must be valid.
    at: i64,
    /// Bounds the work that crossing certificates can cause, and with it the depth.
    checks_left: u32,
    found: Vec<Chain>,
    last_error: String,
}

impl Search<'_> {
    /// Prolongs `chain` by every fitting issuer, to every root that can be reached.
    // fabric: Go crypto/x509 buildChains
    fn extend(&mut self, chain: &Chain) {
        let pools = self.pools;
        let roots = pools.roots.iter().map(|root| (Place::Root, root));
        let intermediates = pools.intermediates.iter().map(|cert| (Place::Intermediate, cert));
        for (place, issuer) in roots.chain(intermediates) {
            match self.try_issuer(chain, place, issuer) {
                Ok(Some(longer)) if place == Place::Root => self.found.push(longer),
                Ok(Some(longer)) => self.extend(&longer),
                Ok(None) => {}
                Err(reason) => self.last_error = reason,
            }
        }
    }

    /// `chain` with `issuer` at its end, if it issued the last one; nothing if its name is another.
    fn try_issuer(
        &mut self,
        chain: &Chain,
        place: Place,
        issuer: &Arc<Certificate>,
    ) -> Result<Option<Chain>, String> {
        let Some(child) = chain.last() else { return Ok(None) };
        if issuer.subject != child.issuer || chain.iter().any(|cert| is_same(cert, issuer)) {
            return Ok(None);
        }
        self.checks_left = self.checks_left.checked_sub(1).ok_or("too many signatures to check")?;
        if !child.is_signed_by(issuer) {
            return Err("the certificate of the issuer's name did not sign it".into());
        }
        self.check(issuer, place, chain)?;
        let mut longer = chain.clone();
        longer.push(issuer.clone());
        Ok(Some(longer))
    }

    // fabric: Go crypto/x509 Certificate.isValid
    fn check(
        &self,
        cert: &Certificate,
        place: Place,
        below: &[Arc<Certificate>],
    ) -> Result<(), String> {
        if let Some(extension) = cert.extensions.unhandled_critical {
            return Err(format!("critical extension {extension} is not handled"));
        }
        if self.at < cert.not_before || self.at > cert.not_after {
            return Err("a certificate of the chain is not valid at the leaf's beginning".into());
        }
        if place == Place::Leaf {
            return Ok(());
        }
        if place == Place::Intermediate && !cert.is_ca() {
            return Err("an issuer is not a ca".into());
        }
        if cert.extensions.has_name_constraints {
            return Err("name constraints are not supported".into());
        }
        let between = below.len().saturating_sub(1);
        if cert.path_len_max().is_some_and(|max| between > usize::from(max)) {
            return Err("chain is longer than an issuer allows".into());
        }
        Ok(())
    }
}

/// Same name, key and alternative names: once in a chain is enough, which rules out cycles.
// fabric: Go crypto/x509 alreadyInChain
fn is_same(one: &Certificate, other: &Certificate) -> bool {
    one.subject == other.subject
        && one.spki == other.spki
        && one.extensions.subject_alt_name == other.extensions.subject_alt_name
}

/// Go's limit (crypto/x509 maxChainSignatureChecks).
const MAX_SIGNATURE_CHECKS: u32 = 100;
