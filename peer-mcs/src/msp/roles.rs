//! Roles: what organisational units say about an identity, and which principals it satisfies.

use bytes::Bytes;

use super::identity::Identity;
use super::{Msp, MspVersion};
use crate::error::IdentityError;
use crate::fabric;
use crate::fabric::config::{
    CombinedPrincipal, MspIdentityAnonymity, MspPrincipal, MspRole, OrganizationUnit,
};

/// An organisational unit, possibly bound to who certified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OuIdentifier {
    pub(crate) unit: String,
    /// Hash of the certification chain that the unit must come from; any will do without.
    pub(crate) certifiers: Option<[u8; 32]>,
}

/// The units that tell clients, peers, admins and orderers apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOus {
    /// Whether every identity must have exactly one of them.
    pub(crate) enforced: bool,
    pub(crate) client: Option<OuIdentifier>,
    pub(crate) peer: Option<OuIdentifier>,
    pub(crate) admin: Option<OuIdentifier>,
    pub(crate) orderer: Option<OuIdentifier>,
}

impl NodeOus {
    fn of_role(&self, role: Role) -> Option<&OuIdentifier> {
        match role {
            Role::Client => self.client.as_ref(),
            Role::Peer => self.peer.as_ref(),
            Role::Admin => self.admin.as_ref(),
            Role::Orderer => self.orderer.as_ref(),
            Role::Member => None,
        }
    }

    /// The unit of that name. Later ones win where two roles share it, as in Fabric.
    fn named(&self, unit: &str) -> Option<&OuIdentifier> {
        [&self.orderer, &self.admin, &self.peer, &self.client]
            .into_iter()
            .flatten()
            .find(|known| known.unit == unit)
    }
}

/// `common.MSPRole.MSPRoleType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Member,
    Admin,
    Client,
    Peer,
    Orderer,
}

impl Role {
    fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Member,
            1 => Self::Admin,
            2 => Self::Client,
            3 => Self::Peer,
            4 => Self::Orderer,
            _ => return None,
        })
    }
}

impl Msp {
    /// Whether an identity's organisational units are what this MSP wants.
    // fabric: msp/mspimplvalidate.go validateIdentityOUsV142, V11, V1
    pub(super) fn check_units(&self, identity: &Identity) -> Result<(), IdentityError> {
        if !self.node_ous.enforced || self.version == MspVersion::V1_0 {
            return self.check_units_unenforced(identity);
        }
        let units = identity.organizational_units();
        let mut roles = 0;
        for known in units.iter().filter_map(|unit| self.node_ous.named(unit)) {
            if known.certifiers.is_some() && known.certifiers != identity.certifiers {
                return Err(IdentityError::OrganizationalUnits(format!(
                    "unit {} comes from another ca",
                    known.unit
                )));
            }
            roles += 1;
            if roles > 1 {
                break;
            }
        }
        match roles {
            1 => Ok(()),
            0 => Err(IdentityError::OrganizationalUnits(format!("no role among {units:?}"))),
            _ => Err(IdentityError::OrganizationalUnits(format!("several roles among {units:?}"))),
        }
    }

    fn check_units_unenforced(&self, identity: &Identity) -> Result<(), IdentityError> {
        let units = identity.organizational_units();
        let is_known = |unit: &String| {
            self.units
                .iter()
                .any(|known| known.unit == *unit && known.certifiers == identity.certifiers)
        };
        if self.units.is_empty() || units.iter().any(is_known) {
            return Ok(());
        }
        Err(IdentityError::OrganizationalUnits(format!("none of {units:?} is known to the msp")))
    }

    /// Whether `identity`, which is one of this MSP's, is what `principal` describes.
    // fabric: msp/mspimpl.go SatisfiesPrincipal
    pub(crate) fn satisfies(&self, identity: &Identity, principal: &MspPrincipal) -> bool {
        self.satisfies_at(identity, principal, 0)
    }

    fn satisfies_at(&self, identity: &Identity, principal: &MspPrincipal, depth: u32) -> bool {
        match principal.classification {
            MspPrincipal::ROLE => self.has_role(identity, &principal.principal),
            MspPrincipal::ORGANIZATION_UNIT => self.is_in_unit(identity, &principal.principal),
            MspPrincipal::IDENTITY => self
                .deserialize(&principal.principal)
                .is_ok_and(|p| p.fingerprint == identity.fingerprint && p.validated.is_ok()),
            MspPrincipal::ANONYMITY => {
                self.version >= MspVersion::V1_3
                    && fabric::decode::<MspIdentityAnonymity>(&principal.principal)
                        .is_ok_and(|anonymity| anonymity.anonymity_type == NOMINAL)
            }
            MspPrincipal::COMBINED => {
                self.version >= MspVersion::V1_3
                    && depth < MAX_COMBINED_DEPTH
                    && fabric::decode::<CombinedPrincipal>(&principal.principal).is_ok_and(|all| {
                        !all.principals.is_empty()
                            && all
                                .principals
                                .iter()
                                .all(|one| self.satisfies_at(identity, one, depth + 1))
                    })
            }
            _ => false,
        }
    }

    fn has_role(&self, identity: &Identity, principal: &Bytes) -> bool {
        let Ok(MspRole { msp_identifier, role }) = fabric::decode(principal) else { return false };
        let Some(role) = Role::from_number(role) else { return false };
        if msp_identifier != *self.id {
            return false;
        }
        let knows_units = self.node_ous.enforced && self.version >= MspVersion::V1_4_3;
        match role {
            Role::Member => identity.validated.is_ok(),
            Role::Client | Role::Peer => {
                identity.validated.is_ok() && self.has_role_unit(identity, role)
            }
            Role::Admin => {
                self.is_named_admin(identity)
                    || knows_units
                        && identity.validated.is_ok()
                        && self.has_role_unit(identity, role)
            }
            Role::Orderer => {
                knows_units && identity.validated.is_ok() && self.has_role_unit(identity, role)
            }
        }
    }

    /// Whether the MSP's configuration names the certificate as an admin's.
    fn is_named_admin(&self, identity: &Identity) -> bool {
        self.admins.iter().any(|admin| admin.fingerprint == identity.fingerprint)
    }

    /// Whether the identity carries the unit of `role`. Who certified it was asked when it was validated.
    pub(super) fn has_role_unit(&self, identity: &Identity, role: Role) -> bool {
        self.node_ous.enforced
            && self
                .node_ous
                .of_role(role)
                .is_some_and(|known| identity.organizational_units().contains(&known.unit))
    }

    fn is_in_unit(&self, identity: &Identity, principal: &Bytes) -> bool {
        let Ok(wanted) = fabric::decode::<OrganizationUnit>(principal) else { return false };
        wanted.msp_identifier == *self.id
            && identity.validated.is_ok()
            && identity.organizational_units().contains(&wanted.organizational_unit_identifier)
            && identity
                .certifiers
                .is_some_and(|certifiers| certifiers[..] == wanted.certifiers_identifier[..])
    }
}

/// `common.MSPIdentityAnonymity.NOMINAL`.
const NOMINAL: i32 = 0;
/// Combined principals nest in configurations only as deep as someone nests them by hand.
const MAX_COMBINED_DEPTH: u32 = 16;
