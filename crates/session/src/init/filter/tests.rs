//! Tests of the filters: the programs for the kernel are run here as the kernel runs them, and one thread
//! of the tests installs them.

use super::*;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
const NATIVE: u32 = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };
const I386: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;

/// What the kernel does with this call: the strictest of what all programs return, as in `seccomp(2)`.
fn answer(architecture: u32, call: u32, arguments: [u64; 6]) -> Result<(), i32> {
    let mut data = [call.to_le_bytes(), architecture.to_le_bytes()].concat();
    data.extend(0_u64.to_le_bytes());
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    let returned = programs().unwrap().iter().map(|program| run(program, &data)).min().unwrap();
    match returned & 0xffff_0000 {
        libc::SECCOMP_RET_ALLOW => Ok(()),
        libc::SECCOMP_RET_ERRNO => Err(i32::try_from(returned & 0xffff).unwrap()),
        other => panic!("{call}: {other:#x}"),
    }
}

/// Runs a program of the classic packet filter, as far as seccomp(2) allows one.
fn run(program: &BpfProgram, data: &[u8]) -> u32 {
    let (mut at, mut value) = (0, 0_u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        let jump = |condition: bool| usize::from(if condition { jt } else { jf });
        at += 1;
        match code {
            0x20 => value = u32::from_le_bytes(data[k as usize..][..4].try_into().unwrap()),
            0x54 => value &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(value == k),
            0x25 => at += jump(value > k),
            0x35 => at += jump(value >= k),
            0x06 => return k,
            other => panic!("{other:#x}"),
        }
    }
}

fn native(call: i64, arguments: &[u64]) -> Result<(), i32> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    answer(NATIVE, u32::try_from(call).unwrap(), all)
}

#[test]
fn a9_calls_without_a_condition_always_fail_and_all_others_pass() {
    for (calls, error) in [(UNKNOWN, libc::ENOSYS), (FORBIDDEN, libc::EPERM)] {
        for &call in calls {
            assert_eq!(native(call, &[]), Err(error), "{call}");
            assert_eq!(native(call, &[u64::MAX; 6]), Err(error), "{call}");
        }
    }
    let with_conditions = [libc::SYS_socket, libc::SYS_socketpair];
    for call in (0..600).filter(|call| ![UNKNOWN, FORBIDDEN].concat().contains(call)) {
        // socket(0, …) is forbidden; all other conditions are of other values.
        assert_eq!(native(call, &[]).is_ok(), !with_conditions.contains(&call), "{call}");
    }
}

#[test]
fn every_call_has_one_error_and_conditions_or_none() {
    let rules = rules();
    for rule in &rules {
        for other in rules.iter().filter(|other| other.call == rule.call && other.error == rule.error) {
            assert_eq!(other.arguments.is_empty(), rule.arguments.is_empty(), "{}", rule.call);
        }
    }
    let all = [UNKNOWN, FORBIDDEN].concat();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a call is listed twice");
}

#[test]
fn a9_clone_starts_processes_and_threads_but_no_namespaces() {
    let thread = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_SETTLS
        | libc::CLONE_PARENT_SETTID
        | libc::CLONE_CHILD_CLEARTID;
    for flags in [libc::SIGCHLD, thread, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD] {
        assert_eq!(native(libc::SYS_clone, &[u64::from(flags.cast_unsigned())]), Ok(()), "{flags:#x}");
    }
    for flag in NAMESPACES {
        for flags in [flag, flag | libc::SIGCHLD, flag | thread] {
            let flags = u64::from(flags.cast_unsigned());
            assert_eq!(native(libc::SYS_clone, &[flags]), Err(libc::EPERM), "{flags:#x}");
            // The kernel ignores the upper half.
            assert_eq!(native(libc::SYS_clone, &[flags | 1 << 40]), Err(libc::EPERM), "{flags:#x}");
        }
    }
}

#[test]
fn a9_a26_a_file_cannot_leave_its_project_and_nothing_is_typed_into_a_terminal() {
    // FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS, TCGETS, TIOCGWINSZ, TIOCSCTTY, TIOCSPTLCK, FIONREAD, FICLONE
    for request in [0x801c_581f_u64, 0x8008_6601, 0x5401, 0x5413, 0x540e, 0x4004_5431, 0x541b, 0x4004_9409] {
        assert_eq!(native(libc::SYS_ioctl, &[0, request]), Ok(()), "{request:#x}");
    }
    for request in IOCTLS.map(u64::from) {
        // The kernel looks at the lower half of the number only.
        for request in [request, request | 1 << 32, request | 0xffff_ffff << 32] {
            assert_eq!(native(libc::SYS_ioctl, &[3, request, 4]), Err(libc::EPERM), "{request:#x}");
        }
    }
}

#[test]
fn a9_sockets_are_local_or_of_the_internet() {
    let socket = |family: i32, protocol: i32| {
        let [family, protocol] = [family, protocol].map(|number| u64::from(number.cast_unsigned()));
        let answers = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW]
            .map(|kind| native(libc::SYS_socket, &[family, u64::from(kind.cast_unsigned()), protocol]));
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        // Both are numbers of 32 bits.
        assert_eq!(native(libc::SYS_socket, &[family | 1 << 32, 1, protocol | 1 << 33]), answers[0]);
        answers[0]
    };
    for family in 0..64 {
        let expected = if FAMILIES.contains(&family) { Ok(()) } else { Err(libc::EAFNOSUPPORT) };
        assert_eq!(socket(family, 0), expected, "{family}");
        let pair = native(libc::SYS_socketpair, &[u64::from(family.cast_unsigned())]);
        assert_eq!(pair.is_ok(), family == libc::AF_UNIX, "{family}");
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        // With SCTP, UDP-Lite, DCCP, L2TP, SMC and MPTCP.
        for protocol in [132, 136, 33, 115, 256, 262, 255, -1] {
            assert_eq!(socket(family, protocol), Err(libc::EPROTONOSUPPORT), "{protocol}");
        }
        assert!(INTERNET.iter().all(|&protocol| socket(family, protocol).is_ok()));
    }
    for protocol in 0..32 {
        assert_eq!(socket(libc::AF_NETLINK, protocol).is_ok(), NETLINK.contains(&protocol), "{protocol}");
    }
}

#[test]
fn a9_a23_no_socket_sends_from_an_address_that_the_box_has_not() {
    let set = |level: u64, option: u64| native(libc::SYS_setsockopt, &[3, level, option]);
    for (level, option) in FREE_BINDS {
        let (level, option) = (u64::from(level.cast_unsigned()), u64::from(option.cast_unsigned()));
        assert_eq!(set(level, option), Err(libc::EPERM));
        assert_eq!(set(level | 1 << 32, option | 1 << 33), Err(libc::EPERM));
    }
    // SO_REUSEADDR, IP_TOS, IPV6_V6ONLY, TCP_NODELAY
    for (level, option) in [(1, 2), (0, 1), (41, 26), (6, 1), (6, 15), (1, 15), (0, 78), (41, 15)] {
        assert_eq!(set(level, option), Ok(()), "{level} {option}");
    }
}

#[test]
fn a9_other_conditions() {
    let personality = |value: u32| native(libc::SYS_personality, &[value.into()]);
    assert!(PERSONALITIES.iter().all(|&value| personality(value).is_ok()));
    // READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, PER_SVR4
    for value in [0x40_0000, 0x10_0000, 1] {
        assert_eq!(personality(value), Err(libc::EPERM), "{value:#x}");
    }
    let limit = |pid: u64, new: u64| native(libc::SYS_prlimit64, &[pid, 7, new, 0]);
    assert_eq!((limit(1, 1 << 33), limit(1, 4), limit(1 | 1 << 32, 4)), (Err(1), Err(1), Err(1)));
    assert_eq!((limit(1, 0), limit(0, 4), limit(2, 4)), (Ok(()), Ok(()), Ok(())));
}

#[test]
fn a9_calls_of_a_foreign_interface_fail_and_kill_nothing() {
    let exits: [u32; 2] = if cfg!(target_arch = "x86_64") { [1, 252] } else { [1, 248] };
    let compatible = if cfg!(target_arch = "x86_64") { I386 } else { ARM };
    for call in (0..600).chain([u32::MAX]) {
        let expected = if exits.contains(&call) { Ok(()) } else { Err(libc::ENOSYS) };
        assert_eq!(answer(compatible, call, [0; 6]), expected, "{call}");
        for other in [0, X86_64, AARCH64, I386, ARM, 0xc000_00f3] {
            if ![NATIVE, compatible].contains(&other) {
                assert_eq!(answer(other, call, [0; 6]), Err(libc::ENOSYS), "{other:#x}: {call}");
            }
        }
        // x32: the same numbers with one more bit.
        #[cfg(target_arch = "x86_64")]
        assert_eq!(answer(X86_64, call | 0x4000_0000, [0; 6]), Err(libc::ENOSYS), "{call}");
    }
}

#[test]
fn the_kernel_accepts_the_filters_and_they_hold() {
    // A filter is of one thread and what it starts.
    let thread = std::thread::spawn(|| {
        // Flags of a process, no namespace: allowed before.
        unshare(CloneFlags::CLONE_FS).unwrap();
        install().unwrap();
        assert_eq!(unshare(CloneFlags::CLONE_FS), Err(Errno::EPERM));
        rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let family = rustix::net::AddressFamily::from_raw(40);
        let vsock = rustix::net::socket(family, rustix::net::SocketType::STREAM, None);
        assert_eq!(vsock.unwrap_err(), rustix::io::Errno::AFNOSUPPORT);
        // A program, its threads and its limits.
        let output = std::process::Command::new("sh").args(["-c", "ulimit -n 100; ulimit -n"]).output();
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "100\n");
        std::thread::spawn(|| ()).join().unwrap();
    });
    thread.join().unwrap();
    unshare(CloneFlags::CLONE_FS).unwrap();
}
