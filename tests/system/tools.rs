//! Debuggers, languages, a database and a browser in a box, under the filters of PID 1: each does what it is
//! for. Their image is large: `tests/long tools` builds it.

use crate::harness::{Changed, User, private_world, run, text};

/// Name of the image in the engine of the world.
const IMAGE: &str = "sshbox-tools:latest";

/// A tool, what a user does with it, and the last line that it prints.
const TOOLS: [(&str, &str, &str); 12] = [
    ("gcc", "printf 'int main(void){return 7;}' > c.c && gcc -g -o c c.c; ./c; echo $?", "7"),
    (
        "gdb",
        "gdb -batch -ex 'break main' -ex run -ex 'print 6*7' -ex kill ./c 2>&1 | grep -o '\\$1 = .*'",
        "$1 = 42",
    ),
    ("strace", "strace -f -e trace=execve,exit_group -o trace sh -c ./c; grep -c exit_group trace", "2"),
    (
        "strace of a running program",
        "sleep 60 & sleep 0.3; timeout 1 strace -o trace -p $! 2>&1 | grep -c attached; kill $!",
        "1",
    ),
    (
        "python",
        "python3 -c '
import asyncio, multiprocessing, sqlite3, ssl, subprocess, threading
async def main():
    process = await asyncio.create_subprocess_exec(\"echo\", \"in\", stdout=subprocess.PIPE)
    return (await process.communicate())[0]
def square(number): return number * number
if __name__ == \"__main__\":
    with multiprocessing.get_context(\"fork\").Pool(4) as pool: squares = pool.map(square, range(5))
    print(asyncio.run(main()), squares, sqlite3.connect(\":memory:\").execute(\"select 6*7\").fetchone())
'",
        "b'in\\n' [0, 1, 4, 9, 16] (42,)",
    ),
    (
        "node",
        "node -e '
const {Worker, isMainThread} = require(\"worker_threads\");
const fs = require(\"fs\"), http = require(\"http\");
const worker = new Worker(\"require(\\\"worker_threads\\\").parentPort.postMessage(6 * 7)\", {eval: true});
worker.on(\"message\", n => http.createServer((q, a) => a.end(String(n))).listen(0, function () {
  http.get({port: this.address().port}, a => a.on(\"data\", d => {
    fs.promises.writeFile(\"n\", d).then(() => { console.log(fs.readFileSync(\"n\", \"utf8\")); process.exit(0); });
  }));
}));'",
        "42",
    ),
    (
        "java",
        "cat > A.java <<'END'
public class A { public static void main(String[] a) throws Exception {
  var server = new java.net.ServerSocket(0);
  var client = new java.net.Socket(\"localhost\", server.getLocalPort());
  var sum = java.util.stream.IntStream.range(0, 1000).parallel().sum();
  System.out.println(sum + \" \" + new ProcessBuilder(\"true\").start().waitFor() + \" \" + client.isConnected());
} }
END
javac A.java && java -XX:+UseG1GC A",
        "499500 0 true",
    ),
    (
        "go",
        "mkdir -p g && cd g && cat > main.go <<'END'
package main
import (\"fmt\"; \"net\"; \"os/exec\")
func main() {
  l, err := net.Listen(\"tcp\", \"127.0.0.1:0\")
  if err != nil { panic(err) }
  c, err := net.Dial(\"tcp\", l.Addr().String())
  if err != nil { panic(err) }
  out, err := exec.Command(\"echo\", \"in\").Output()
  done := make(chan int)
  for i := 0; i < 100; i++ { go func() { done <- 1 }() }
  n := 0
  for i := 0; i < 100; i++ { n += <-done }
  fmt.Print(n, \" \", c != nil, \" \", string(out))
}
END
go mod init g 2>/dev/null; go run .",
        "100 true in",
    ),
    (
        "rust",
        "rm -rf r && USER=user cargo new --quiet --vcs none r && cd r && cat > src/main.rs <<'END'
fn main() {
    let n: i32 = (0..8).map(|n| std::thread::spawn(move || n * n)).map(|t| t.join().unwrap()).sum();
    let out = std::process::Command::new(\"echo\").arg(\"in\").output().unwrap();
    print!(\"{n} {}\", String::from_utf8(out.stdout).unwrap());
}
END
cargo run --quiet --offline",
        "140 in",
    ),
    (
        "postgres",
        "PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); initdb -D pg >/dev/null && pg_ctl -D pg -o '-k /tmp' -l log -w start >/dev/null && psql -h /tmp -d postgres -Atc 'create table t as select generate_series(1,100000) n; select sum(n) from t'; pg_ctl -D pg -m fast stop >/dev/null",
        "5000050000",
    ),
    (
        "chromium",
        "timeout 120 chromium --headless --no-sandbox --disable-gpu --dump-dom 'data:text/html,<p>in</p>' 2>/dev/null | grep -o '<p>in</p>'",
        "<p>in</p>",
    ),
    ("tar, as archives are unpacked", "mkdir -p d && chmod 0750 d && tar -c d | tar -x && ls d | wc -l", "0"),
];

#[test]
#[ignore = "needs an image of its own: `tests/long tools`"]
fn debuggers_languages_a_database_and_a_browser_work() {
    let _world = private_world();
    let root = std::env::var("SSHBOX_TOOLS").expect("SSHBOX_TOOLS names a file: tests/system/tools-image");
    let import = format!(
        "zstd -qdc {root} | docker import --change 'USER 1000:1000' --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8' - {IMAGE}"
    );
    run("bash", &["-c", &import]);
    let _config = Changed::config("image = \"sshbox-user:latest\"", &format!("image = \"{IMAGE}\""));
    let user = User::new("toolsmith");
    let mut failed = Vec::new();
    for (tool, command, expected) in TOOLS {
        let output = user.ssh().run(command);
        let shown = text(&output.stdout);
        if shown.lines().last() != Some(expected) {
            failed.push(format!("{tool}: {output:?}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    run("docker", &["rm", "-f", "-v", &user.container()]);
}
