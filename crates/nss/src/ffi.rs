//! The C face of the module: the three symbols that glibc looks up, and nothing else.
//! Signatures: glibc manual, "NSS Module Function Internals".

use crate::{Answer, look_up};
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
    // SAFETY: by the contract above; the slice lives only in this function.
    let (name, bytes) =
        unsafe { (CStr::from_ptr(name), slice::from_raw_parts_mut(buffer.cast::<u8>(), length)) };
    match look_up(name.to_bytes(), bytes) {
        Answer::Found(entry) => {
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
        Answer::TooSmall => {
            // SAFETY: `errno` is writable, by the contract above.
            unsafe { errno.write(ERANGE) };
            TRY_AGAIN
        }
        Answer::NotFound => NOT_FOUND,
    }
}

/// The members of a group that has none: a null pointer ends the list.
static NO_MEMBERS: usize = 0;

/// `getgrgid_r`: the group of all logins. sshd asks for its name at each login (`AllowGroups`), and
/// refuses everybody when `/etc/group` is the only place that has it and is missing or empty.
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
    // Callers do not write to what an entry points to.
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

/// Supplementary groups: none, for nobody. Without this symbol glibc would collect the
/// groups of `/etc/group` by name, and a web user called like a local admin would get theirs.
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
