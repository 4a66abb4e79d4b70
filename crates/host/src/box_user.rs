//! The uid and gid of each box on the host. With `box.user = "own"` a box has a number from `box.uids` that
//! belongs to no other box: the account names it, or its id does, or the home has it already, or it is
//! the highest that is free.
//!
//! For each uid there is a claim, a symbolic link whose name is the uid and whose target is the login name. Of two
//! processes that claim one uid the kernel lets one succeed. The claims can be lost: the owner of a home
//! tells the same, so a new claim is made only if no other home has that owner.

mod claims;
mod host_users;
#[cfg(test)]
mod tests;

pub use claims::{DIRECTORY, claimed};
pub use host_users::host_owner;

use crate::account::Account;
use crate::config::{BoxUser, ContainerConfig, UidGid, UidRange};
use crate::home;
use claims::Claims;
use host_users::HostOwner;
use identity::Login;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a box has no uid.
#[derive(Debug)]
pub enum BoxUserError {
    /// The account names this uid, which is not one of `box.uids`.
    OutOfRange(u32, UidRange),
    /// Another login has this uid: with a claim, or as the owner of its home.
    Taken {
        /// The uid.
        uid: u32,
        /// The other login, or what else the claim names.
        by: String,
        /// The claim.
        claim: PathBuf,
    },
    /// A user or a group of the host has this uid.
    OfHost(u32, String),
    /// Whether the host has this uid is not known.
    NoNameService(u32, io::Error),
    /// All uids are taken.
    NoneLeft(UidRange),
    /// Reading or writing this path failed.
    Io(PathBuf, io::Error),
}

impl fmt::Display for BoxUserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange(uid, range) => {
                write!(f, "the account names uid {uid}, which is not in box.uids ({range})")
            }
            Self::Taken { uid, by, claim } => write!(
                f,
                "uid {uid} belongs to the box of {by}; if that user is gone or was renamed, move or remove \
                 the home and the link {}",
                claim.display()
            ),
            Self::OfHost(uid, owner) => {
                write!(
                    f,
                    "uid {uid} belongs to {owner} of this host; set box.uids to numbers that nobody has"
                )
            }
            Self::NoNameService(uid, _) => {
                write!(f, "the name service of this host does not say whether somebody has uid {uid}")
            }
            Self::NoneLeft(range) => write!(f, "all uids of box.uids ({range}) are taken"),
            Self::Io(path, _) => write!(f, "cannot read or write {}", path.display()),
        }
    }
}

impl std::error::Error for BoxUserError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) | Self::NoNameService(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The user of the box of `login`, whose uid nobody else gets from now on. Only one process may call this for
/// a login at a time. `claims` is [`DIRECTORY`].
///
/// # Errors
/// [`BoxUserError`]
pub fn claim(
    config: &ContainerConfig,
    login: &Login,
    account: &Account,
    claims: &Path,
) -> Result<UidGid, BoxUserError> {
    claim_beside(config, login, account, claims, host_owner)
}

/// [`claim`] on a host whose users and groups this function names.
fn claim_beside(
    config: &ContainerConfig,
    login: &Login,
    account: &Account,
    claims: &Path,
    host_owner: HostOwner,
) -> Result<UidGid, BoxUserError> {
    if let BoxUser::Fixed(user) = config.user {
        return Ok(user);
    }
    let claims = Claims { dir: claims, homes: &config.home, host_owner };
    let uid = match wanted(config, login, Some(account))? {
        Some(uid) => {
            claims.claim(uid, login)?;
            uid
        }
        None => match claims.of(login, config.uids)? {
            Some(uid) => uid,
            None => claims.allocate(login, config.uids)?,
        },
    };
    Ok(UidGid { uid, gid: uid })
}

/// The user that the box of `login` has, or gets at its next start. `None` if only that start decides.
/// Changes nothing.
///
/// # Errors
/// [`BoxUserError`]
pub fn look(
    config: &ContainerConfig,
    login: &Login,
    account: Option<&Account>,
    claims: &Path,
) -> Result<Option<UidGid>, BoxUserError> {
    if let BoxUser::Fixed(user) = config.user {
        return Ok(Some(user));
    }
    let claims = Claims { dir: claims, homes: &config.home, host_owner };
    let uid = match wanted(config, login, account)? {
        Some(uid) => Some(uid),
        None => claims.of(login, config.uids)?,
    };
    Ok(uid.map(|uid| UidGid { uid, gid: uid }))
}

/// Removes the claims of `login`. The caller makes sure that it has neither a box nor a home.
///
/// # Errors
/// The I/O error.
pub fn release(login: &Login, claims: &Path) -> io::Result<()> {
    Claims::release(claims, login)
}

/// The uid that account and home demand; `None` if they demand none.
fn wanted(
    config: &ContainerConfig,
    login: &Login,
    account: Option<&Account>,
) -> Result<Option<u32>, BoxUserError> {
    let range = config.uids;
    if let Some(uid) = account.and_then(|account| account.uid) {
        return if range.contains(uid) { Ok(Some(uid)) } else { Err(BoxUserError::OutOfRange(uid, range)) };
    }
    let of_id = account.and_then(|account| of_id(account.id.as_deref()?, range));
    let of_home = || {
        let owner = home::inspect(&config.home, login).ok().map(|home| home.owner.0);
        owner.filter(|uid| range.contains(*uid))
    };
    Ok(of_id.or_else(of_home))
}

/// The uid of an account whose id is a number: so `ls -ln` tells whose file it is.
fn of_id(id: &str, range: UidRange) -> Option<u32> {
    let number: u32 = id.parse().ok().filter(|number: &u32| number.to_string() == id)?;
    range.first.checked_add(number).filter(|uid| range.contains(*uid))
}
