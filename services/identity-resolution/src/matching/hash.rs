//! Hashes that are stored: the same on every machine and in every version, unlike the standard library's.

/// A value of an attribute, hashed: what term frequencies and holders are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ValueKey(pub u64);

/// A blocking key, hashed to what PostgreSQL calls `bigint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey(pub i64);

/// FNV-1a over parts, with a separator so that ("ab","c") is not ("a","bc"), and a final mix so that the low bits are good.
#[derive(Clone, Copy)]
pub struct StableHasher(u64);

impl StableHasher {
    /// A hasher for one family of values.
    #[must_use]
    pub const fn new(family: u8) -> Self {
        Self((0xcbf2_9ce4_8422_2325 ^ family as u64).wrapping_mul(0x0100_0000_01b3))
    }

    /// Adds a part.
    #[must_use]
    pub fn part(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a part.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.0 = (self.0 ^ 0xff).wrapping_mul(0x0100_0000_01b3);
        self
    }

    /// The hash.
    #[must_use]
    pub const fn finish(self) -> u64 {
        let mut x = self.0;
        x ^= x >> 30;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^= x >> 27;
        x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// The hash as a value's key.
    #[must_use]
    pub const fn value(self) -> ValueKey {
        ValueKey(self.finish())
    }

    /// The hash as a blocking key.
    #[must_use]
    pub const fn block(self) -> BlockKey {
        BlockKey(self.finish().cast_signed())
    }
}
