//! The C interface of the module: the three symbols that glibc looks up. Signatures: glibc manual, "NSS
//! Module Function Internals".

use crate::{LookupResult, look_up};
use libc::{ERANGE, c_char, c_int, c_long, gid_t, group, passwd, size_t};
use std::ffi::CStr;
use std::slice;

const TRY_AGAIN: c_int = -2;
const NOT_FOUND: c_int = 0;
const SUCCESS: c_int = 1;

/// `getpwnam_r` for the service name `sshbox`.
///
/// # Safety
/// Called by glibc: `name` is a C string, `result` and `errno` point to writable values and
/// `buffer` to `length` writable bytes that live as long as `result` is used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_sshbox_getpwnam_r(
    name: *const c_char,
    result: *mut passwd,
    buffer: *mut c_char,
    length: size_t,
    errno: *mut c_int,
) -> c_int {
    if name.is_null() || result.is_null() || buffer.is_null() || errno.is_null() {
        return NOT_FOUND;
    }
    // SAFETY: by the contract above; the slice does not outlive this function.
    let (name, bytes) =
        unsafe { (CStr::from_ptr(name), slice::from_raw_parts_mut(buffer.cast::<u8>(), length)) };
    match look_up(name.to_bytes(), bytes) {
        LookupResult::Found(entry) => {
            let at = |offset: usize| buffer.wrapping_add(offset);
            let found = passwd {
                pw_name: at(entry.name),
                pw_passwd: at(entry.password),
                pw_uid: entry.uid,
                pw_gid: identity::GID,
                pw_gecos: at(entry.gecos),
                pw_dir: at(entry.home),
                pw_shell: at(entry.shell),
            };
            // SAFETY: `result` is writable and aligned, by the contract above.
            unsafe { result.write(found) };
            SUCCESS
        }
        LookupResult::TooSmall => {
            // SAFETY: `errno` is writable, by the contract above.
            unsafe { errno.write(ERANGE) };
            TRY_AGAIN
        }
        LookupResult::NotFound => NOT_FOUND,
    }
}

/// The empty list of members: a null pointer ends a list.
static NO_MEMBERS: usize = 0;

/// `getgrgid_r` for the group of all logins. sshd looks up its name at each login (`AllowGroups`). If only
/// `/etc/group` had it, sshd would refuse every login while that file is missing or empty.
///
/// # Safety
/// Called by glibc: `result` points to a writable value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_sshbox_getgrgid_r(
    gid: gid_t,
    result: *mut group,
    _buffer: *mut c_char,
    _length: size_t,
    _errno: *mut c_int,
) -> c_int {
    if gid != identity::GID || result.is_null() {
        return NOT_FOUND;
    }
    // Callers do not write through the pointers of an entry.
    let found = group {
        gr_name: c"sshbox".as_ptr().cast_mut(),
        gr_passwd: c"x".as_ptr().cast_mut(),
        gr_gid: gid,
        gr_mem: (&raw const NO_MEMBERS).cast_mut().cast(),
    };
    // SAFETY: `result` is writable and aligned, by the contract above.
    unsafe { result.write(found) };
    SUCCESS
}

/// Supplementary groups: no user has any. Without this symbol glibc would collect the groups of
/// `/etc/group` by name, and a web user with the name of a local admin would get the admin's groups.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_sshbox_initgroups_dyn(
    _user: *const c_char,
    _group: gid_t,
    _start: *mut c_long,
    _size: *mut c_long,
    _groups: *mut *mut gid_t,
    _limit: c_long,
    _errno: *mut c_int,
) -> c_int {
    SUCCESS
}
