//! The network of a box is shared by the sshd of its connections. What is in the box cannot harm them, and learns nothing
//! there.

use super::{INSIDE, read_from, serve};
use crate::harness::{User, free_port, until, world};

/// Asks the kernel to destroy every socket that it lists, as `ss -K` does, with `sock_diag(7)`. Prints whether there
/// are any, and the errors.
const DESTROYS: &str = r#"exec python3 - <<'EOF'
import errno, socket, struct
def ask(kind, flags, body):
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    netlink.settimeout(10)
    netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
    found = []
    while True:
        data = netlink.recv(1 << 20)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            body, data = data[16:length], data[(length + 3) & ~3:]
            if kind == 3:
                return found
            if kind == 2:
                return found + [struct.unpack_from("=i", body)[0]]
            found.append(body)
count, errors = 0, set()
for family in (socket.AF_INET, socket.AF_INET6):
    dump = struct.pack("=BBBBI", family, 6, 0, 0, 0xffffffff) + bytes(48)
    for body in ask(20, 0x301, dump):
        count += 1
        destroy = struct.pack("=BBBBI", family, 6, 0, 0, 0xffffffff) + body[4:52]
        for answer in ask(21, 5, destroy):
            errors.add(errno.errorcode.get(-answer, answer) if isinstance(answer, int) else "listed")
print(count > 0, sorted(errors, key=str))
EOF
"#;

#[test]
fn a6_a10_programs_in_the_box_cannot_end_connections_or_see_more_than_the_box() {
    let _world = world();
    let (user, other) = (User::new("shares"), User::new("shares-not"));
    let (port, local, remote) = (free_port(), free_port(), free_port());
    let _server = serve(&user, "127.0.0.1", port);
    other.says("true");
    let options =
        ["-N", "-L", &format!("{local}:127.0.0.1:{port}"), "-R", &format!("{remote}:127.0.0.1:{port}")];
    let mut client = user.ssh().args(&options).begin(&[]);
    until("it forwards", || read_from(local) == INSIDE);
    // sshd listens in the box for -R, so its socket is among those that are listed.
    let listens = format!("grep -q ':{remote:04X} ' /proc/net/tcp && echo listens");
    assert_eq!(user.says(&listens), "listens\n");
    // A setting that the kernel may lack makes no difference: nothing is destroyed either way.
    let said = user.says(DESTROYS);
    assert!(["True ['EPERM']\n", "True ['EOPNOTSUPP']\n", "True ['EACCES']\n"].contains(&&*said), "{said}");
    assert_eq!(user.ssh().status("ss -K state listening >/dev/null 2>&1; true"), 0);
    assert_eq!(user.says(&listens), "listens\n");
    assert_eq!(read_from(local), INSIDE);
    // No abstract socket, no connection of a client, nothing of another box.
    assert_eq!(user.says("grep -c '@' /proc/net/unix || true"), "0\n");
    let client_side = "cat /proc/net/tcp /proc/net/tcp6 | grep -ciE ':(0898|1F40) ' || true";
    assert_eq!(user.says(client_side), "0\n");
    assert_eq!(other.says(&format!("cat /proc/net/tcp | grep -c ':{remote:04X} ' || true")), "0\n");
    assert_eq!(other.ssh().status(&listens), 1);
    client.kill();
}
