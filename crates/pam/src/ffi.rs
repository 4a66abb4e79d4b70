//! The C interface of the module: the functions that libpam looks up (pam(3), "PAM Module Writers' Guide"), and the
//! two C interfaces that it uses: libpam itself and the resolver of the C library.

mod resolver;

use crate::connection;
use identity::Login;
use libc::{c_char, c_int, c_void};
use session::authorized_key::AuthorizedKey;
use session::exit::ExitStatus;
use session::exit::Failure;
use session::journal::{Event, Field, log};
use std::ffi::{CStr, CString};
use std::panic;
use std::ptr;

const PAM_SUCCESS: c_int = 0;
const PAM_PERM_DENIED: c_int = 6;
const PAM_AUTH_ERR: c_int = 7;
const PAM_SESSION_ERR: c_int = 14;
const PAM_AUTHTOK_ERR: c_int = 20;

/// Style of a message: an error.
const PAM_ERROR_MSG: c_int = 3;

/// The variable in which sshd exposes the methods that succeeded.
const AUTH_INFO: &CStr = c"SSH_AUTH_INFO_0";

/// Exit status of the connection after a panic.
const PANICKED: c_int = 255;

/// A transaction of libpam.
type Handle = *mut c_void;

// The process that loads the module has loaded libpam.
unsafe extern "C" {
    fn pam_get_user(handle: Handle, user: *mut *const c_char, prompt: *const c_char) -> c_int;
    fn pam_getenv(handle: Handle, name: *const c_char) -> *const c_char;
    fn pam_prompt(
        handle: Handle,
        style: c_int,
        response: *mut *mut c_char,
        format: *const c_char,
        ...
    ) -> c_int;
}

/// The login name.
fn login_of(handle: Handle) -> Option<Login> {
    let mut name = ptr::null();
    // SAFETY: libpam called with this handle, and `name` is writable. No prompt is needed: sshd has set the name.
    let found = unsafe { pam_get_user(handle, &raw mut name, ptr::null()) };
    if found != PAM_SUCCESS || name.is_null() {
        return None;
    }
    // SAFETY: libpam returned a C string that lives as long as the transaction.
    Login::parse(unsafe { CStr::from_ptr(name) }.to_bytes()).ok()
}

/// Fingerprint of the key that logged in.
fn fingerprint_of(handle: Handle) -> Option<String> {
    // SAFETY: libpam called with this handle; the name is a C string.
    let value = unsafe { pam_getenv(handle, AUTH_INFO.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: libpam returned a C string, which nothing changes before it is copied.
    let methods = unsafe { CStr::from_ptr(value) }.to_str().ok()?;
    AuthorizedKey::of_login(methods).map(|key| key.fingerprint().to_owned())
}

/// Tells the user why the login is refused.
fn tell(handle: Handle, text: String) {
    let failure = Failure::new(ExitStatus::Refused, text);
    let Ok(text) = CString::new(failure.to_string()) else { return };
    // SAFETY: the format takes one C string, which lives until the call returns; no response is expected.
    unsafe { pam_prompt(handle, PAM_ERROR_MSG, ptr::null_mut(), c"%s".as_ptr(), text.as_ptr()) };
}

/// After a panic, the connection ends: it must not go on in the network of the host.
fn end_on_panic() {
    panic::set_hook(Box::new(|panic| {
        log(crate::PROGRAM, Event::ProgramFailed, &[(Field::Error, &panic.to_string())]);
        // SAFETY: ends the process at once; nothing of sshd runs after it.
        unsafe { libc::_exit(PANICKED) }
    }));
}

/// Counts the connections of the user.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_acct_mgmt(
    handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    end_on_panic();
    let Some(login) = login_of(handle) else { return PAM_PERM_DENIED };
    match connection::admit(&login) {
        Ok(()) => PAM_SUCCESS,
        Err(text) => {
            tell(handle, text);
            PAM_PERM_DENIED
        }
    }
}

/// Moves the connection into the network of the user's box.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_open_session(
    handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    end_on_panic();
    let Some(login) = login_of(handle) else { return PAM_SESSION_ERR };
    match connection::open(&login, fingerprint_of(handle)) {
        Ok(name_servers) => {
            resolver::use_name_servers(&name_servers);
            PAM_SUCCESS
        }
        Err(text) => {
            tell(handle, text);
            PAM_SESSION_ERR
        }
    }
}

/// The end of the process ends all that the session has.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_close_session(
    _handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_SUCCESS
}

/// Logs nobody in: only sshd itself does, by a key.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_authenticate(
    _handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_AUTH_ERR
}

/// There are no credentials to set. sshd calls this at each login.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_setcred(
    _handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_SUCCESS
}

/// There are no passwords.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_chauthtok(
    _handle: Handle,
    _flags: c_int,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    PAM_AUTHTOK_ERR
}
