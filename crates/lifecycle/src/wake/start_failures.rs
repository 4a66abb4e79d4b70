//! What a user is told when a start fails before the engine has anything to do with it.

use super::engine_failed;
use crate::image_accounts::ImageAccountsError;
use crate::spec::BoxSpec;
use host::box_user::BoxUserError;
use host::home::HomeError;
use identity::Login;
use session::exit::{ExitStatus, Failure};
use session::texts;

pub fn no_user(error: &BoxUserError) -> Failure {
    let (status, advice) = match error {
        BoxUserError::OutOfRange(..) => (ExitStatus::Refused, texts::UID_NOT_FOR_BOXES),
        BoxUserError::Taken { .. } => (ExitStatus::Refused, texts::UID_TAKEN),
        BoxUserError::OfHost(..) => (ExitStatus::Refused, texts::UID_OF_HOST),
        BoxUserError::NoneLeft(_) | BoxUserError::Io(..) | BoxUserError::NoNameService(..) => {
            (ExitStatus::Unavailable, texts::NO_UID)
        }
    };
    Failure::because(status, advice, error)
}

pub fn no_image(spec: &BoxSpec, more: &str) -> Failure {
    let cause = format!("image {} is not on this host{more}", spec.image);
    Failure { cause, ..Failure::new(ExitStatus::Unavailable, texts::NO_IMAGE) }
}

pub fn image_not_allowed(image: &str) -> Failure {
    let cause = format!("the account names image {image}, which box.images does not allow");
    Failure { cause, ..Failure::new(ExitStatus::Refused, texts::image_not_allowed(image)) }
}

pub fn no_home(error: &HomeError, login: &Login) -> Failure {
    match error {
        HomeError::OtherAccount { .. } => Failure::because(ExitStatus::Refused, texts::OTHER_ACCOUNT, error),
        HomeError::OtherOwner { .. } => {
            Failure::because(ExitStatus::Refused, texts::home_of_another_uid(login.as_str()), error)
        }
        _ => Failure::because(ExitStatus::Unavailable, texts::NO_HOME, error),
    }
}

pub fn no_accounts(error: ImageAccountsError) -> Failure {
    match error {
        ImageAccountsError::Engine(error) => engine_failed(error),
        error @ ImageAccountsError::Busy(_) => {
            Failure::because(ExitStatus::TryAgain, texts::IMAGE_BUSY, &error)
        }
        error @ ImageAccountsError::Copies(..) => {
            Failure::because(ExitStatus::TryAgain, texts::NO_BOX_FILES, &error)
        }
    }
}
