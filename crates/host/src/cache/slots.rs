//! Tables of fixed size, in one file each, with one slot per user. So a client that tries any number of
//! login names fills no disk. The slot is the uid modulo the size, so two users can share a slot.

use super::open;
use identity::Login;
use sha2::{Digest as _, Sha256};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Number of slots of a table.
pub const SLOTS: u64 = 4096;

/// Read the `WORDS` numbers in the slot of this user.
pub fn read<const WORDS: usize>(path: &Path, login: &Login) -> io::Result<[u64; WORDS]> {
    // One call: if another process writes the slot now, this reads the old numbers or the new ones.
    let mut bytes = vec![0; WORDS * 8];
    open::read_only(path)?.read_exact_at(&mut bytes, offset(login, WORDS))?;
    let mut slot = [0; WORDS];
    for (word, bytes) in slot.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(slot)
}

/// Write the slot of this user. Creates the table if it does not exist.
pub fn write<const WORDS: usize>(
    dir: &Path,
    name: &str,
    login: &Login,
    slot: [u64; WORDS],
) -> io::Result<()> {
    let bytes = slot.map(u64::to_le_bytes).concat();
    open::read_write(dir, name)?.write_all_at(&bytes, offset(login, WORDS))
}

fn offset(login: &Login, words: usize) -> u64 {
    u64::from(login.uid()) % SLOTS * 8 * words as u64
}

/// The first 64 bits of the SHA-256 of these parts, joined.
pub fn hash(parts: &[&str]) -> u64 {
    let digest = parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
