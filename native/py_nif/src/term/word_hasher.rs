//! A hasher for immediate terms, which are one word.

use std::hash::{BuildHasherDefault, Hasher};

pub(crate) type BuildWordHasher = BuildHasherDefault<WordHasher>;

/// Hashes words that are small and distinct already: one multiplication spreads them well enough.
#[derive(Default)]
pub(crate) struct WordHasher(u64);

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
