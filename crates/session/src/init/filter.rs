//! The system calls that programs in a container cannot make, as seccomp filters that PID 1 installs
//! before it starts the first program. They come on top of the engine's own filter and can only forbid
//! more, so that what a container may call does not depend on the version of the engine.
//!
//! They list what is forbidden. The kernel caches that a call is always allowed, as read(2) is: such a
//! call costs the same as without these filters.

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Calls for which programs have another way when the kernel does not know them.
const UNKNOWN: &[i64] = &[
    // Its flags are in memory, where a filter cannot read them.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_memfd_secret,
    // Changes the project of a file, by which its space is counted.
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// Calls that need privileges, or whose implementation has been a way into the kernel.
const FORBIDDEN: &[i64] = &[
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Keys of the kernel, which are counted by user id.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Programs in the kernel, its counters, and page faults that a program may delay.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_lookup_dcookie,
    // Other processes, beyond what a debugger does with ptrace(2).
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    // The placement of memory on the host.
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // The host itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// `file_setattr(2)` of Linux 6.17 and `open_tree_attr(2)` of 6.15: the same numbers on each architecture.
const FILE_SETATTR: i64 = 469;
const OPEN_TREE_ATTR: i64 = 467;

/// Flags of clone(2) that create a namespace. `CLONE_NEWTIME` exists for unshare(2) and clone3(2) only.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests of ioctl(2), by number: two change the project of a file or its flags, of which one is that
/// new files inherit the project; the others type into another program's terminal, select text on the
/// console, and load a driver for a terminal.
const IOCTLS: [u32; 6] = [
    // FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS
    0x401c_5820,
    0x4008_6602,
    0x4004_6602,
    // TIOCSTI, TIOCLINUX, TIOCSETD
    0x5412,
    0x541c,
    0x5423,
];

/// Level and option of setsockopt(2) that let a program send from any address.
const FREE_BINDS: [(i32, i32); 2] =
    [(libc::IPPROTO_IP, libc::IP_FREEBIND), (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND)];

/// The values for personality(2) that the engines allow: Linux, with the kernel's own version or 2.6, on a
/// machine with 64 or 32 bits; and the question which value is set.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

/// The addresses that sockets may have, and the protocols: those of the Internet, and the questions about
/// the container's own addresses, routes and sockets. Others are drivers that the kernel loads on demand.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
const INTERNET: [i32; 5] =
    [0, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6];
const NETLINK: [i32; 2] = [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG];

/// A system call, what must be true of its arguments, and the error that it fails with.
struct Rule {
    call: i64,
    /// All of them; with none, the call always fails.
    arguments: Vec<Argument>,
    error: i32,
}

/// A comparison of one argument, by its index. All but the last look at the lower 32 bits, as the kernel
/// does for these arguments.
#[derive(Clone, Copy)]
enum Argument {
    Is(u8, u32),
    IsNot(u8, u32),
    /// Has this bit.
    Has(u8, u32),
    /// Is no null pointer.
    IsPointer(u8),
}

use Argument::{Has, Is, IsNot, IsPointer};

/// Installs the filters for this process and all that it starts. They cannot be removed.
///
/// # Errors
/// The error of the system call. The kernel may lack seccomp filters.
pub fn install() -> io::Result<()> {
    for program in programs()? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// The filters as programs for the kernel, one for each error. The kernel runs all of them.
fn programs() -> io::Result<Vec<BpfProgram>> {
    let rules = rules();
    let errors: BTreeSet<i32> = rules.iter().map(|rule| rule.error).collect();
    errors.into_iter().map(|error| program(error, &rules).map_err(io::Error::other)).collect()
}

fn program(error: i32, rules: &[Rule]) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.error == error) {
        let alternatives = calls.entry(rule.call).or_default();
        if !rule.arguments.is_empty() {
            let arguments = rule.arguments.iter().map(|argument| argument.condition());
            alternatives.push(SeccompRule::new(arguments.collect::<Result<_, _>>()?)?);
        }
    }
    let target: TargetArch = std::env::consts::ARCH.try_into()?;
    let failed = SeccompAction::Errno(error.unsigned_abs());
    let filter: BpfProgram = SeccompFilter::new(calls, SeccompAction::Allow, failed, target)?.try_into()?;
    Ok(foreign_calls().into_iter().chain(filter).collect())
}

fn rules() -> Vec<Rule> {
    let always = |calls: &[i64], error| -> Vec<Rule> {
        calls.iter().map(|&call| Rule { call, arguments: Vec::new(), error }).collect()
    };
    let none_of = |index, values: &[i32]| -> Vec<Argument> {
        values.iter().map(|value| IsNot(index, value.cast_unsigned())).collect()
    };
    let family = |family: i32, protocols| {
        let arguments = [vec![Is(0, family.cast_unsigned())], none_of(2, protocols)].concat();
        Rule { call: libc::SYS_socket, arguments, error: libc::EPROTONOSUPPORT }
    };
    let forbidden = |call, arguments| Rule { call, arguments, error: libc::EPERM };
    let mut rules = always(UNKNOWN, libc::ENOSYS);
    rules.extend(always(FORBIDDEN, libc::EPERM));
    rules.extend(NAMESPACES.map(|flag| forbidden(libc::SYS_clone, vec![Has(0, flag.cast_unsigned())])));
    rules.extend(IOCTLS.map(|request| forbidden(libc::SYS_ioctl, vec![Is(1, request)])));
    let other_personality = PERSONALITIES.map(|value| IsNot(0, value)).to_vec();
    rules.push(forbidden(libc::SYS_personality, other_personality));
    // A packet with the address of another box would count as that box's.
    rules.extend(FREE_BINDS.map(|(level, option)| {
        forbidden(libc::SYS_setsockopt, vec![Is(1, level.cast_unsigned()), Is(2, option.cast_unsigned())])
    }));
    // The limits of PID 1 itself, which shares its user id with all programs.
    rules.push(forbidden(libc::SYS_prlimit64, vec![Is(0, 1), IsPointer(2)]));
    for (call, families) in [(libc::SYS_socket, &FAMILIES[..]), (libc::SYS_socketpair, &[libc::AF_UNIX])] {
        rules.push(Rule { call, arguments: none_of(0, families), error: libc::EAFNOSUPPORT });
    }
    rules.extend([
        family(libc::AF_INET, &INTERNET),
        family(libc::AF_INET6, &INTERNET),
        family(libc::AF_NETLINK, &NETLINK),
    ]);
    rules
}

impl Argument {
    fn condition(self) -> Result<SeccompCondition, seccompiler::BackendError> {
        use SeccompCmpArgLen::{Dword, Qword};
        match self {
            Is(index, value) => SeccompCondition::new(index, Dword, SeccompCmpOp::Eq, value.into()),
            IsNot(index, value) => SeccompCondition::new(index, Dword, SeccompCmpOp::Ne, value.into()),
            Has(index, bit) => {
                SeccompCondition::new(index, Dword, SeccompCmpOp::MaskedEq(bit.into()), bit.into())
            }
            IsPointer(index) => SeccompCondition::new(index, Qword, SeccompCmpOp::Ne, 0),
        }
    }
}

/// The first instructions: what a call gets that is not of this machine's own 64-bit interface. The rules
/// above do not know its number, so it fails with ENOSYS. Only a program of the 32-bit interface may exit,
/// because some C libraries repeat a failed exit for ever. Without these instructions the calls would kill.
fn foreign_calls() -> Vec<sock_filter> {
    // `struct seccomp_data`: the number of the call is at offset 0, the architecture at 4.
    const LOAD: u16 = 0x20;
    const RETURN: u16 = 0x06;
    const IF_EQUAL: u16 = 0x15;
    #[cfg(target_arch = "x86_64")]
    const IF_AT_LEAST: u16 = 0x35;
    // AUDIT_ARCH_X86_64 and _I386; exit(2) and exit_group(2) of the latter; the first number of x32.
    #[cfg(target_arch = "x86_64")]
    const NATIVE: (u32, u32, [u32; 2]) = (0xc000_003e, 0x4000_0003, [1, 252]);
    #[cfg(target_arch = "x86_64")]
    const X32: u32 = 0x4000_0000;
    // AUDIT_ARCH_AARCH64 and _ARM.
    #[cfg(target_arch = "aarch64")]
    const NATIVE: (u32, u32, [u32; 2]) = (0xc000_00b7, 0x4000_0028, [1, 248]);
    let (native, with_32_bits, [exit, exit_group]) = NATIVE;
    let instruction = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut program = vec![
        instruction(LOAD, 4, 0, 0),
        instruction(IF_EQUAL, native, 6, 0),
        instruction(IF_EQUAL, with_32_bits, 0, 3),
        instruction(LOAD, 0, 0, 0),
        instruction(IF_EQUAL, exit, 2, 0),
        instruction(IF_EQUAL, exit_group, 1, 0),
        instruction(RETURN, unknown, 0, 0),
        instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([
        instruction(LOAD, 0, 0, 0),
        instruction(IF_AT_LEAST, X32, 0, 1),
        instruction(RETURN, unknown, 0, 0),
    ]);
    program
}

#[cfg(test)]
mod tests;
