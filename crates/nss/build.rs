//! Sets the soname of the module: glibc loads it by that name.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libnss_sshbox.so.2");
    println!("cargo::rerun-if-changed=build.rs");
}
