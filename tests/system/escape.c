/* What a program in a box tries in order to leave it, or to reach more of the kernel than it needs. Prints a
 * line for each attempt: what was tried, the errors that are accepted, and what happened, with tabs between.
 * The last attempts are things that programs do every day: they must succeed. Run by escape.rs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <grp.h>

static const char *name_of(int error) { return error ? strerrorname_np(error) : "done"; }

/* The errors that are accepted end with -1. */
static void attempt(const char *what, long result, ...) {
    int error = result < 0 ? errno : 0, accepted;
    va_list list;
    printf("%s\t", what);
    va_start(list, result);
    while ((accepted = va_arg(list, int)) != -1) printf(" %s", name_of(accepted));
    va_end(list);
    printf("\t%s\n", name_of(error));
    fflush(stdout);
}
#define TRY(what, accepted, ...) attempt(what, (long)(__VA_ARGS__), accepted, -1)
#define TRY2(what, one, other, ...) attempt(what, (long)(__VA_ARGS__), one, other, -1)
#define TRY3(what, one, two, three, ...) attempt(what, (long)(__VA_ARGS__), one, two, three, -1)

/* Runs this in a child. EFAULT: a signal killed it. */
static long in_child(long (*body)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        long result = body();
        _exit(result < 0 ? errno : 0);
    }
    waitpid(pid, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
    return errno ? -1 : 0;
}

static long write_to(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    long result;
    if (fd < 0) return -1;
    result = write(fd, text, strlen(text));
    close(fd);
    return result;
}

static long read_from(const char *path) {
    char byte;
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : read(fd, &byte, 1);
}

static long gain_capability(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{1u << CAP_SYS_ADMIN, 1u << CAP_SYS_ADMIN, 0}};
    return syscall(SYS_capset, &header, data);
}

static long read_memory_of(pid_t pid, void *from) {
    char byte;
    struct iovec here = {&byte, 1}, there = {from, 1};
    return process_vm_readv(pid, &here, 1, &there, 1, 0);
}

static long clone_with(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    if (pid > 0) waitpid(pid, 0, 0);
    return pid;
}

static long clone_user(void) { return clone_with(CLONE_NEWUSER); }

#ifdef __x86_64__
/* getpid(2) of i386 and of x32. */
static long call_i386(void) {
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) errno = -result;
    return result < 0 ? -1 : 0;
}
static long call_x32(void) { return syscall(0x40000000 + SYS_getpid); }
#endif

static long debug_child(void) {
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (!WIFSTOPPED(status) || ptrace(PTRACE_PEEKTEXT, pid, (void *)debug_child, 0) == -1) return -1;
    if (ptrace(PTRACE_CONT, pid, 0, 0) < 0) return -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? 0 : -1;
}

static long call_nothing(void) { return 0; }

static void *nothing(void *unused) { return unused; }

static long start_thread(void) {
    pthread_t thread;
    errno = pthread_create(&thread, 0, nothing, 0);
    return errno ? -1 : pthread_join(thread, 0);
}

static void identity(void) {
    gid_t group = 0;
    struct rlimit files;
    TRY("become root: setuid(2)", EPERM, setuid(0));
    TRY("become group root: setgid(2)", EPERM, setgid(0));
    TRY("join group root: setgroups(2)", EPERM, setgroups(1, &group));
    TRY("gain CAP_SYS_ADMIN: capset(2)", EPERM, gain_capability());
    TRY("gain an ambient capability", EPERM, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY("drop no-new-privileges", EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_max++;
    TRY("raise a hard limit: setrlimit(2)", EPERM, setrlimit(RLIMIT_NOFILE, &files));
    TRY2("a higher priority: setpriority(2)", EPERM, EACCES, setpriority(PRIO_PROCESS, 0, -20));
    TRY("real-time priority", EPERM, sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}));
    TRY2("a lower score for the out-of-memory killer", EACCES, EPERM, write_to("/proc/self/oom_score_adj", "-1000"));
    TRY("map root: /proc/self/uid_map", EPERM, write_to("/proc/self/uid_map", "0 0 1"));
}

static void init(void) {
    struct rlimit few = {4, 4};
    TRY("debug PID 1: ptrace(2)", EPERM, ptrace(PTRACE_SEIZE, 1, 0, 0));
    TRY("read memory of PID 1: process_vm_readv(2)", EPERM, read_memory_of(1, (void *)0x400000));
    TRY("lower limits of PID 1: prlimit(2)", EPERM, syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &few, 0));
    TRY("/proc/1/mem", EACCES, read_from("/proc/1/mem"));
    TRY("/proc/1/environ", EACCES, read_from("/proc/1/environ"));
    TRY2("/proc/1/maps", EACCES, EPERM, read_from("/proc/1/maps"));
    TRY("/proc/1/fd", EACCES, open("/proc/1/fd", O_RDONLY | O_DIRECTORY));
    TRY("/proc/1/root", EACCES, open("/proc/1/root/etc", O_RDONLY | O_DIRECTORY));
    TRY("/proc/1/cwd", EACCES, open("/proc/1/cwd", O_RDONLY | O_DIRECTORY));
    TRY("/proc/1/ns/mnt", EACCES, open("/proc/1/ns/mnt", O_RDONLY));
    TRY("/proc/1/oom_score_adj", EACCES, write_to("/proc/1/oom_score_adj", "1000"));
    TRY("a descriptor of another process: pidfd_getfd(2)", EPERM, syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 0, 0));
    TRY("compare processes: kcmp(2)", EPERM, syscall(SYS_kcmp, getpid(), getppid(), 0, 0, 0));
    TRY("process_madvise(2)", EPERM, syscall(SYS_process_madvise, -1, 0, 0, 0, 0));
}

static void namespaces(void) {
    static const struct { const char *what; int flag; } kinds[] = {
        {"unshare(2), user", CLONE_NEWUSER}, {"unshare(2), mount", CLONE_NEWNS}, {"unshare(2), network", CLONE_NEWNET},
        {"unshare(2), pid", CLONE_NEWPID}, {"unshare(2), ipc", CLONE_NEWIPC}, {"unshare(2), uts", CLONE_NEWUTS},
        {"unshare(2), cgroup", CLONE_NEWCGROUP}, {"unshare(2), time", 0x80},
    };
    for (unsigned at = 0; at < sizeof kinds / sizeof *kinds; at++)
        TRY(kinds[at].what, EPERM, syscall(SYS_unshare, kinds[at].flag));
    TRY("clone(2) with a user namespace", EPERM, in_child(clone_user));
    TRY("clone3(2)", ENOSYS, syscall(SYS_clone3, 0, 0));
    TRY("setns(2)", EPERM, setns(open("/proc/self/ns/net", O_RDONLY), 0));
    TRY("mount(2), tmpfs", EPERM, mount("x", "/tmp", "tmpfs", 0, 0));
    TRY("mount(2), proc", EPERM, mount("x", "/tmp", "proc", 0, 0));
    TRY("mount(2), bind", EPERM, mount("/", "/tmp", 0, MS_BIND, 0));
    TRY("mount(2), the root writable", EPERM, mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
    TRY("umount2(2)", EPERM, umount2("/proc/kcore", MNT_DETACH));
    TRY("pivot_root(2)", EPERM, syscall(SYS_pivot_root, ".", "."));
    TRY("chroot(2)", EPERM, chroot("/tmp"));
    TRY("fsopen(2)", EPERM, syscall(SYS_fsopen, "tmpfs", 0));
    TRY("fsconfig(2)", EPERM, syscall(SYS_fsconfig, -1, 0, 0, 0, 0));
    TRY("fsmount(2)", EPERM, syscall(SYS_fsmount, -1, 0, 0));
    TRY("fspick(2)", EPERM, syscall(SYS_fspick, AT_FDCWD, "/tmp", 0));
    TRY("open_tree(2)", EPERM, syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    TRY("open_tree_attr(2)", EPERM, syscall(467, AT_FDCWD, "/", 1, 0, 0));
    TRY("move_mount(2)", EPERM, syscall(SYS_move_mount, -1, "", AT_FDCWD, "/tmp", 4));
    TRY("mount_setattr(2)", EPERM, syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, 0, 0));
    TRY("open_by_handle_at(2)", EPERM, syscall(SYS_open_by_handle_at, AT_FDCWD, 0, 0));
    TRY("fanotify_init(2)", EPERM, syscall(SYS_fanotify_init, 0, 0));
}

static void kernel(void) {
    struct timex clock = {.modes = ADJ_OFFSET};
    TRY("keyctl(2)", EPERM, syscall(SYS_keyctl, 0, -3, 1));
    TRY("add_key(2)", EPERM, syscall(SYS_add_key, "user", "x", "x", 1, -3));
    TRY("request_key(2)", EPERM, syscall(SYS_request_key, "user", "x", 0, -3));
    TRY("bpf(2)", EPERM, syscall(SYS_bpf, 0, 0, 0));
    TRY("perf_event_open(2)", EPERM, syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    TRY("userfaultfd(2)", EPERM, syscall(SYS_userfaultfd, 1));
    TRY("io_uring_setup(2)", ENOSYS, syscall(SYS_io_uring_setup, 1, (char[256]){0}));
    TRY("io_uring_enter(2)", ENOSYS, syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0));
    TRY("io_uring_register(2)", ENOSYS, syscall(SYS_io_uring_register, -1, 0, 0, 0));
    TRY("memfd_secret(2)", ENOSYS, syscall(SYS_memfd_secret, 0));
    TRY("set_mempolicy(2)", EPERM, syscall(SYS_set_mempolicy, 0, 0, 0));
    TRY("move_pages(2)", EPERM, syscall(SYS_move_pages, 0, 0, 0, 0, 0, 0));
    TRY("personality(2), executable data", EPERM, syscall(SYS_personality, 0x400000));
    TRY("personality(2), a page at address 0", EPERM, syscall(SYS_personality, 0x100000));
    TRY("init_module(2)", EPERM, syscall(SYS_init_module, 0, 0, ""));
    TRY("finit_module(2)", EPERM, syscall(SYS_finit_module, -1, "", 0));
    TRY("delete_module(2)", EPERM, syscall(SYS_delete_module, "x", 0));
    TRY("kexec_load(2)", EPERM, syscall(SYS_kexec_load, 0, 0, 0, 0));
    TRY("reboot(2)", EPERM, syscall(SYS_reboot, 0, 0, 0, 0));
    TRY("swapon(2)", EPERM, syscall(SYS_swapon, "/tmp/x", 0));
    TRY("acct(2)", EPERM, syscall(SYS_acct, "/tmp/x"));
    TRY("syslog(2)", EPERM, syscall(SYS_syslog, 3, (char[16]){0}, 16));
    TRY("quotactl(2)", EPERM, syscall(SYS_quotactl, 0, 0, 0, 0));
    TRY("quotactl_fd(2)", EPERM, syscall(SYS_quotactl_fd, 0, 0, 0, 0));
    TRY("sethostname(2)", EPERM, sethostname("x", 1));
    TRY("settimeofday(2)", EPERM, syscall(SYS_settimeofday, 0, &(struct timezone){0}));
    TRY("clock_settime(2)", EPERM, clock_settime(CLOCK_REALTIME, &(struct timespec){0}));
    TRY("adjtimex(2)", EPERM, adjtimex(&clock));
#ifdef __x86_64__
    TRY("modify_ldt(2)", ENOSYS, syscall(SYS_modify_ldt, 0, (char[16]){0}, 16));
    TRY("iopl(2)", EPERM, syscall(SYS_iopl, 3));
    TRY("ioperm(2)", EPERM, syscall(SYS_ioperm, 0, 1, 1));
    TRY("int 0x80: a call of i386", ENOSYS, in_child(call_i386));
    TRY("a call of x32", ENOSYS, in_child(call_x32));
#endif
}

static void sockets(void) {
    static const struct { const char *what; int family, kind, protocol, error; } kinds[] = {
        {"raw socket, ICMP", AF_INET, SOCK_RAW, 1, EPERM}, {"raw socket, TCP", AF_INET, SOCK_RAW, 6, EPERM},
        {"raw socket, IPv6", AF_INET6, SOCK_RAW, 58, EPERM}, {"packet socket", AF_PACKET, SOCK_RAW, 0, EAFNOSUPPORT},
        {"vsock", 40, SOCK_STREAM, 0, EAFNOSUPPORT}, {"AF_ALG", 38, SOCK_SEQPACKET, 0, EAFNOSUPPORT},
        {"AF_RXRPC", 33, SOCK_DGRAM, 2, EAFNOSUPPORT}, {"CAN", 29, SOCK_RAW, 1, EAFNOSUPPORT},
        {"Bluetooth", 31, SOCK_RAW, 1, EAFNOSUPPORT}, {"TIPC", 30, SOCK_SEQPACKET, 0, EAFNOSUPPORT},
        {"XDP", 44, SOCK_RAW, 0, EAFNOSUPPORT}, {"SMC", 43, SOCK_STREAM, 0, EAFNOSUPPORT},
        {"Multipath TCP", AF_INET, SOCK_STREAM, 262, EPROTONOSUPPORT}, {"SCTP", AF_INET, SOCK_STREAM, 132, EPROTONOSUPPORT},
        {"L2TP", AF_INET, SOCK_DGRAM, 115, EPROTONOSUPPORT}, {"netlink of nftables", AF_NETLINK, SOCK_RAW, 12, EPROTONOSUPPORT},
        {"netlink of IPsec", AF_NETLINK, SOCK_RAW, 6, EPROTONOSUPPORT}, {"generic netlink", AF_NETLINK, SOCK_RAW, 16, EPROTONOSUPPORT},
        {"netlink of the audit", AF_NETLINK, SOCK_RAW, 9, EPROTONOSUPPORT},
    };
    for (unsigned at = 0; at < sizeof kinds / sizeof *kinds; at++)
        TRY(kinds[at].what, kinds[at].error, socket(kinds[at].family, kinds[at].kind, kinds[at].protocol));
    int four = socket(AF_INET, SOCK_DGRAM, 0), six = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    TRY("an address of another, IP_FREEBIND", EPERM, setsockopt(four, 0, 15, &on, sizeof on));
    TRY("an address of another, IP_FREEBIND on IPv6", EPERM, setsockopt(six, 0, 15, &on, sizeof on));
    TRY("an address of another, IPV6_FREEBIND", EPERM, setsockopt(six, 41, 78, &on, sizeof on));
    TRY("an address of another, IP_TRANSPARENT", EPERM, setsockopt(four, 0, 19, &on, sizeof on));
    TRY("an address of another, IPV6_TRANSPARENT", EPERM, setsockopt(six, 41, 75, &on, sizeof on));
    TRY("allowed: IPV6_V6ONLY", 0, setsockopt(six, 41, 26, &on, sizeof on));
    TRY("a pair of sockets of another family", EAFNOSUPPORT, socketpair(30, SOCK_SEQPACKET, 0, (int[2]){0}));
}

static void files(void) {
    int file = open("escape.file", O_RDWR | O_CREAT, 0600), attributes[7] = {0};
    long flags = 0;
    TRY("a device node: mknod(2), memory", EPERM, mknod("escape.mem", S_IFCHR | 0600, 0x101));
    TRY("a device node: mknod(2), a disk", EPERM, mknod("escape.disk", S_IFBLK | 0600, 0x800));
    TRY2("/dev/mem", ENOENT, EACCES, open("/dev/mem", O_RDONLY));
    TRY2("/dev/kmsg", ENOENT, EACCES, open("/dev/kmsg", O_RDONLY));
    TRY2("/dev/net/tun", ENOENT, EACCES, open("/dev/net/tun", O_RDWR));
    TRY2("/dev/fuse", ENOENT, EACCES, open("/dev/fuse", O_RDWR));
    TRY2("a hard link to a file outside the home", EXDEV, EPERM, link("/etc/passwd", "escape.link"));
    TRY("give a file away: chown(2)", EPERM, fchown(file, 0, 0));
    TRY2("change the PID 1 program", EROFS, EACCES, open("/sbin/sshbox-init", O_WRONLY));
    TRY2("a file in the host's directory", EROFS, EACCES, open("/run/sshbox/x", O_WRONLY | O_CREAT, 0600));
    TRY("another project: FS_IOC_FSSETXATTR", EPERM, ioctl(file, 0x401c5820, attributes));
    TRY("another project, with more bits", EPERM, syscall(SYS_ioctl, file, 0x1401c5820, attributes));
    TRY("other flags: FS_IOC_SETFLAGS", EPERM, ioctl(file, 0x40086602, &flags));
    TRY("another project: file_setattr(2)", ENOSYS, syscall(469, AT_FDCWD, "escape.file", attributes, 24, 0));
    TRY2("/proc/sys/kernel/core_pattern", EROFS, EACCES, write_to("/proc/sys/kernel/core_pattern", "|/x"));
    TRY2("/proc/sys/kernel/hostname", EROFS, EACCES, write_to("/proc/sys/kernel/hostname", "x"));
    TRY2("/proc/sys/vm/overcommit_memory", EROFS, EACCES, write_to("/proc/sys/vm/overcommit_memory", "1"));
    TRY3("/proc/sys/kernel/modprobe", EROFS, EACCES, ENOENT, write_to("/proc/sys/kernel/modprobe", "/x"));
    TRY3("/proc/sysrq-trigger", EROFS, EACCES, ENOENT, write_to("/proc/sysrq-trigger", "h"));
    TRY3("/proc/kcore", EACCES, EPERM, ENOENT, read_from("/proc/kcore"));
    TRY3("/sys/kernel/uevent_helper", EROFS, EACCES, ENOENT, write_to("/sys/kernel/uevent_helper", "/x"));
    TRY3("/sys/power/state", EROFS, EACCES, ENOENT, write_to("/sys/power/state", "mem"));
    TRY3("/sys/fs/cgroup: leave the cgroup", EROFS, EACCES, ENOENT, write_to("/sys/fs/cgroup/pids/cgroup.procs", "0"));
    TRY3("/sys/fs/cgroup: leave the cgroup (v2)", EROFS, EACCES, ENOENT, write_to("/sys/fs/cgroup/cgroup.procs", "0"));
    TRY3("/sys/fs/cgroup: more memory", EROFS, EACCES, ENOENT, write_to("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"));
    TRY3("/sys/fs/cgroup: release_agent", EROFS, EACCES, ENOENT, write_to("/sys/fs/cgroup/memory/release_agent", "/x"));
    TRY3("/sys/fs/cgroup: a cgroup of its own", EROFS, EACCES, ENOENT, mkdir("/sys/fs/cgroup/x", 0700));
    close(file);
    unlink("escape.file");
}

static void terminals(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave, discipline = 1;
    grantpt(master);
    unlockpt(master);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    TRY("type into a terminal: TIOCSTI", EPERM, ioctl(slave, TIOCSTI, "x"));
    TRY("type into a terminal, with more bits", EPERM, syscall(SYS_ioctl, slave, 0x100005412, "x"));
    TRY("the console: TIOCLINUX", EPERM, ioctl(slave, TIOCLINUX, "\2"));
    TRY("a driver for a terminal: TIOCSETD", EPERM, ioctl(slave, TIOCSETD, &discipline));
    TRY("allowed: the size of a terminal", 0, ioctl(slave, TIOCGWINSZ, (char[8]){0}));
}

static void allowed(void) {
    TRY("allowed: a process", 0, in_child(call_nothing));
    TRY("allowed: a thread", 0, start_thread());
    TRY("allowed: debug a child", 0, debug_child());
    TRY("allowed: an executable page", 0, mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
    TRY("allowed: memfd_create(2)", 0, memfd_create("x", 0));
    TRY("allowed: eventfd(2)", 0, eventfd(0, 0));
    TRY("allowed: inotify_init1(2)", 0, inotify_init1(0));
    TRY("allowed: TCP", 0, socket(AF_INET, SOCK_STREAM, 0));
    TRY("allowed: UDP over IPv6", 0, socket(AF_INET6, SOCK_DGRAM, 0));
    TRY("allowed: a Unix socket", 0, socket(AF_UNIX, SOCK_SEQPACKET, 0));
    TRY("allowed: netlink of routes", 0, socket(AF_NETLINK, SOCK_RAW, 0));
    TRY("allowed: the personality", 0, syscall(SYS_personality, 0xffffffff));
    TRY("allowed: its own limits", 0, prlimit(0, RLIMIT_CORE, 0, &(struct rlimit){0}));
    TRY("allowed: the limits of PID 1", 0, prlimit(1, RLIMIT_NOFILE, 0, &(struct rlimit){0}));
    TRY("allowed: be killed first", 0, write_to("/proc/self/oom_score_adj", "900"));
    TRY("allowed: a fifo", 0, mkfifo("escape.fifo", 0600) | unlink("escape.fifo"));
}

int main(void) {
    identity();
    init();
    namespaces();
    kernel();
    sockets();
    files();
    terminals();
    allowed();
    return 0;
}
