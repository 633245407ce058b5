//! Who asks, and what they may: roles, tokens, sessions, identities of an issuer, limits.
//!
//! It decides; what was asked is carried out elsewhere. The only thing that crosses the hub unseen is the actor: it is set
//! once, where a request was let in, and read once, where the audit log writes down who changed something.

pub(crate) mod door;
pub(crate) mod limits;
pub(crate) mod oidc;
mod roles;
pub(crate) mod tokens;

pub use roles::{Role, RoleError, Roles};

use std::fmt;
use std::future::Future;

tokio::task_local! {
    /// Who the running request is from. Tasks that a handler starts don't inherit it, so a handler changes what it changes
    /// by itself.
    static ACTOR: Actor;
}

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// What kind of somebody it is.
    pub(crate) kind: Kind,
    /// The token's name, the issuer's subject, or what the kind itself is called.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) roles: Roles,
    /// How it was known.
    pub(crate) method: Method,
}

/// What kind of somebody an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whoever shows a named token.
    Token,
    /// Whoever shows the token of `api_token_file`.
    FileToken,
    /// Somebody the issuer vouches for.
    Identity,
    /// Anybody on the machine of a hub that has no tokens.
    Anybody,
    /// A device that shows an enrolment token.
    EnrolmentToken,
    /// The hub itself.
    Hub,
    /// Somebody with the database in hand.
    CommandLine,
}

/// How an actor was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`, to look.
    Basic,
    /// A browser's cookie, to look.
    Session,
    /// Not at all.
    None,
}

impl Kind {
    /// The word in the audit log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::FileToken => "api-token-file",
            Self::Identity => "identity",
            Self::Anybody => "anybody",
            Self::EnrolmentToken => "enrolment-token",
            Self::Hub => "hub",
            Self::CommandLine => "command-line",
        }
    }

    /// The kind of a word that was stored.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [
            Self::Token,
            Self::FileToken,
            Self::Identity,
            Self::Anybody,
            Self::EnrolmentToken,
            Self::Hub,
            Self::CommandLine,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

impl Method {
    /// The word in the audit log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::Session => "session",
            Self::None => "none",
        }
    }
}

impl Actor {
    /// The hub, which acts where nobody asks it to.
    pub(crate) fn hub() -> Self {
        Self::unasked(Kind::Hub)
    }

    /// Somebody who works on the database without a hub.
    pub(crate) fn command_line() -> Self {
        Self::unasked(Kind::CommandLine)
    }

    /// Anybody on the hub's own machine.
    pub(crate) fn anybody() -> Self {
        Self::unasked(Kind::Anybody)
    }

    /// Whoever shows an enrolment token: it lets a device in, and nothing else.
    pub(crate) fn enrolment_token(id: &str) -> Self {
        Self {
            kind: Kind::EnrolmentToken,
            name: id.to_owned(),
            roles: Roles::of(&[]),
            method: Method::None,
        }
    }

    fn unasked(kind: Kind) -> Self {
        Self {
            kind,
            name: kind.name().to_owned(),
            roles: Roles::of(&[Role::Admin]),
            method: Method::None,
        }
    }

    /// Who acts now.
    pub(crate) fn current() -> Self {
        ACTOR.try_with(Clone::clone).unwrap_or_else(|_| Self::hub())
    }

    /// Does something as this actor.
    pub(crate) async fn act<T>(self, what: impl Future<Output = T>) -> T {
        ACTOR.scope(self, what).await
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Token | Kind::Identity | Kind::EnrolmentToken => write!(f, "{} {}", self.kind.name(), self.name),
            _ => f.write_str(&self.name),
        }
    }
}
