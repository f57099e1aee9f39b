//! Who may learn of whom.
//!
//! One function decides for everything that leaves: entries, beats, and the passing on of probes.

use gossip_api::OrgId;

/// What disclosure depends on in the member told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) org: &'a OrgId,
    /// Whether that is our organisation.
    pub(crate) inside: bool,
    /// Whether it has an endpoint for other organisations.
    pub(crate) external: bool,
}

/// What disclosure depends on in the peer that is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener<'a> {
    pub(crate) org: &'a OrgId,
    /// Whether that is our organisation.
    pub(crate) inside: bool,
    /// Whether it has an endpoint for other organisations.
    pub(crate) external: bool,
}

/// Whether we may tell `listener` that `subject` exists. Organisations' names are compared only where both are
/// foreign: this is asked for every beat and every neighbour.
// fabric: gossip/gossip/gossip_impl.go disclosurePolicy
// fabric-differs: inside the organisation everything it may know is told by request and answer too; Fabric tells of
// foreign members there by push alone.
pub(crate) fn may_tell(subject: Subject<'_>, listener: Listener<'_>) -> bool {
    if listener.inside {
        subject.external || subject.inside
    } else if subject.inside {
        subject.external && listener.external
    } else {
        subject.org == listener.org
    }
}

/// Whether we may tell `listener` a member's secret.
pub(crate) fn may_tell_secret(own: &OrgId, subject: &OrgId, listener: &OrgId) -> bool {
    subject == own && listener == own
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of Fabric's disclosure policy.
    #[test]
    fn the_table_of_disclosure() {
        // We are of A. Columns: subject's org, subject external, listener's org, listener external, told.
        let table = [
            ("A", false, "A", false, true),
            ("A", true, "A", false, true),
            ("B", true, "A", false, true),
            ("B", false, "A", true, false),
            ("A", true, "B", true, true),
            ("A", false, "B", true, false),
            ("A", true, "B", false, false),
            ("B", true, "B", false, true),
            ("B", false, "B", true, true),
            ("C", true, "B", true, false),
            ("C", false, "B", true, false),
        ];
        let own = org("A");
        for (subject, external, listener, listener_external, told) in table {
            let (subject, listener) = (org(subject), org(listener));
            let verdict = may_tell(
                Subject { org: &subject, inside: subject == own, external },
                Listener { org: &listener, inside: listener == own, external: listener_external },
            );
            assert_eq!(verdict, told, "{subject} {external} to {listener} {listener_external}");
        }
    }

    #[test]
    fn secrets_stay_inside() {
        let (own, other) = (org("A"), org("B"));
        assert!(may_tell_secret(&own, &own, &own));
        assert!(!may_tell_secret(&own, &own, &other));
        assert!(!may_tell_secret(&own, &other, &other));
        assert!(!may_tell_secret(&own, &other, &own));
    }

    fn org(name: &str) -> OrgId {
        OrgId::new(name).expect("short")
    }
}
