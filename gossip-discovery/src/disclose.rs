//! Who may learn of whom.
//!
//! One function decides for everything that leaves: entries, beats, and the passing on of probes.

use gossip_api::OrgId;

/// What disclosure depends on in the member told of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) org: &'a OrgId,
    /// Whether it has an endpoint for other organisations.
    pub(crate) external: bool,
}

/// What disclosure depends on in the peer that is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener<'a> {
    pub(crate) org: &'a OrgId,
    /// Whether it has an endpoint for other organisations.
    pub(crate) external: bool,
}

/// Whether we, of organisation `own`, may tell `listener` that `subject` exists.
// fabric: gossip/gossip/gossip_impl.go disclosurePolicy
// fabric-differs: inside the organisation everything it may know is told by request and answer too; Fabric tells of
// foreign members there by push alone.
pub(crate) fn may_tell(own: &OrgId, subject: Subject<'_>, listener: Listener<'_>) -> bool {
    if listener.org == own {
        return subject.external || subject.org == own;
    }
    if subject.org == listener.org {
        return true;
    }
    subject.org == own && subject.external && listener.external
}

/// Whether we may tell `listener` a member's secret.
pub(crate) fn may_tell_secret(own: &OrgId, subject: &OrgId, listener: &OrgId) -> bool {
    subject == own && listener == own
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of behaviour.md 6.13.
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
                &own,
                Subject { org: &subject, external },
                Listener { org: &listener, external: listener_external },
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
