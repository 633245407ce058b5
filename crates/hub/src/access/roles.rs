//! What somebody may do. A set of roles, since releasing and operating are apart: a bundle that reaches devices takes a
//! releaser and an operator, who may be one person or two.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One thing that somebody is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at everything but tokens and the audit log.
    Viewer,
    /// Also deploys, rolls back, pauses, sets sampling, gives commands, exports bundles for devices.
    Operator,
    /// Also uploads bundles. Brings them to no device.
    Releaser,
    /// Everything: also enrols and removes devices, makes and revokes tokens, reads the audit log.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Releaser, Self::Admin];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Releaser => "releaser",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| RoleError(text.to_owned()))
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: expected viewer, operator, releaser or admin")]
pub struct RoleError(pub String);

/// What somebody is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// These roles.
    #[must_use]
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |set, role| set | role.bit()))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether they allow what needs this one: an admin may everything, and everybody who is anything may look.
    #[must_use]
    pub const fn allow(self, needed: Role) -> bool {
        let looks = matches!(needed, Role::Viewer) && !self.is_empty();
        looks || self.0 & (needed.bit() | Role::Admin.bit()) != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.0 & role.bit() != 0)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Roles {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        let roles: Vec<Role> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self::of(&roles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releasing_and_operating_are_apart() {
        use Role::{Admin, Operator, Releaser, Viewer};
        for (roles, allowed) in [
            (&[][..], &[][..]),
            (&[Viewer], &[Viewer]),
            (&[Operator], &[Viewer, Operator]),
            (&[Releaser], &[Viewer, Releaser]),
            (&[Operator, Releaser], &[Viewer, Operator, Releaser]),
            (&[Admin], &[Viewer, Operator, Releaser, Admin]),
        ] {
            let set = Roles::of(roles);
            let may: Vec<Role> = Role::ALL.into_iter().filter(|role| set.allow(*role)).collect();
            assert_eq!(may, allowed, "{roles:?}");
            if !roles.is_empty() {
                assert_eq!(set.to_string().parse(), Ok(set));
            }
        }
        assert_eq!("root".parse::<Roles>(), Err(RoleError("root".to_owned())));
        assert!("".parse::<Roles>().is_err());
    }
}
