//! Streams: append-only sequences of stamps, their leaves and their Merkle root.
//!
//! Leaf and node hashes are those of RFC 6962 section 2.1, so any transparency-log verifier can
//! check a stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::digest::hex;

/// The identity of a stream: one agent × repo × epoch. A UUIDv7 made when the stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Uuid);

impl StreamId {
    /// Takes the identity that was given when the stream was opened.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl FromStr for StreamId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The RFC 6962 leaf hash of a stamp's canonical body: SHA-256(0x00 ‖ body).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf([u8; 32]);

impl Leaf {
    /// Hashes a canonical body.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(body).finalize().into())
    }

    /// Takes a leaf that was computed before.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The compact form of a Merkle tree that grows at its right edge: the roots of its perfect
/// subtrees, largest first. One append costs O(log n) at worst and O(1) on average.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    /// Invariant: one node per set bit of `size`, the highest bit's first.
    nodes: Vec<[u8; 32]>,
}

impl CompactRange {
    /// The number of leaves appended.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: &Leaf) {
        let mut node = *leaf.as_bytes();
        for _ in 0..self.size.trailing_ones() {
            let left = self.nodes.pop().expect("every set bit of the size has its node");
            node = parent(&left, &node);
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The RFC 6962 tree hash; SHA-256 of nothing for the empty tree.
    pub fn root(&self) -> [u8; 32] {
        let mut smallest_first = self.nodes.iter().rev();
        let Some(&last) = smallest_first.next() else {
            return Sha256::digest(b"").into();
        };
        smallest_first.fold(last, |right, left| parent(left, &right))
    }

    /// The form that is stored: the nodes one after another; the size is stored beside it.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.nodes.concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote for a tree of `size` leaves; `None` when the
    /// bytes cannot be of such a tree.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Self> {
        let (nodes, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && nodes.len() == size.count_ones() as usize;
        fits.then(|| Self { size, nodes: nodes.to_vec() })
    }
}

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recursive definition of RFC 6962 section 2.1, to compare with.
    fn tree_hash(leaves: &[Leaf]) -> [u8; 32] {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [leaf] => *leaf.as_bytes(),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                parent(&tree_hash(&leaves[..split]), &tree_hash(&leaves[split..]))
            }
        }
    }

    #[test]
    fn root_is_the_recursive_tree_hash_at_every_size() {
        let leaves: Vec<Leaf> = (0..130_u32).map(|n| Leaf::of(&n.to_be_bytes())).collect();
        let mut range = CompactRange::default();
        assert_eq!(range.root(), tree_hash(&[]));
        for (index, leaf) in leaves.iter().enumerate() {
            range.push(leaf);
            assert_eq!(range.root(), tree_hash(&leaves[..=index]), "size {}", index + 1);
            let stored = CompactRange::from_bytes(range.size(), &range.to_bytes());
            assert_eq!(stored.as_ref(), Some(&range));
        }
        assert_eq!(CompactRange::from_bytes(3, &[0; 32]), None);
    }

    #[test]
    fn leaf_and_root_match_the_certificate_transparency_vectors() {
        // The test vectors of the Certificate Transparency reference implementation.
        let inputs: [&[u8]; 3] = [b"", &[0], &[0x10]];
        let mut range = CompactRange::default();
        for input in inputs {
            range.push(&Leaf::of(input));
        }
        assert_eq!(
            Leaf::of(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(
            hex(&range.root()),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
    }
}
