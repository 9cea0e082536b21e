//! Identities that follow from what they identify: the same offline, on every road and every time.

use uuid::Uuid;

use super::digest::Digest;
use super::namespace::Namespace;
use super::path::RepoPath;
use super::stream::Leaf;

/// The identity of a content at a path in a namespace: UUIDv8 of
/// BLAKE3(namespace ‖ 0 ‖ hexadecimal digest ‖ 0 ‖ path as text, or nothing).
///
/// The path goes in as the text by which receivers know it, so that whoever holds the row can
/// compute its id.
pub fn stamp_id(namespace: &Namespace, digest: &Digest, path: Option<&RepoPath>) -> Uuid {
    content_id(namespace, digest, path.map(RepoPath::to_lossy).as_deref())
}

/// [`stamp_id`] for a path that is known as text only.
pub fn content_id(namespace: &Namespace, digest: &Digest, path: Option<&str>) -> Uuid {
    let path = path.unwrap_or_default();
    let input = format!("{namespace}\0{digest}\0{path}");
    first_half_as_v8(Digest::of(input.as_bytes()).as_bytes())
}

/// The identity of the event that tells of a position of a stream: UUIDv8 of its leaf.
pub fn event_id(leaf: &Leaf) -> Uuid {
    first_half_as_v8(leaf.as_bytes())
}

/// The identity of a row that follows from a key which is unique among its kind: UUIDv8 of
/// BLAKE3(kind ‖ 0 ‖ key). Rows that are made anew from the same events are the same rows.
pub fn row_id(kind: &str, key: &str) -> Uuid {
    first_half_as_v8(Digest::of(format!("{kind}\0{key}").as_bytes()).as_bytes())
}

fn first_half_as_v8(hash: &[u8; 32]) -> Uuid {
    let (half, _) = hash.split_first_chunk().expect("16 of 32 bytes");
    Uuid::new_v8(*half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_id_is_the_same_everywhere_and_another_for_another_part() {
        let namespace = "a.b.c".parse().expect("a namespace");
        let (digest, path) = (Digest::of(b"x"), RepoPath::new(b"src/x.rs"));
        let id = stamp_id(&namespace, &digest, path.as_ref());
        // Computed with another implementation of BLAKE3 over the same bytes.
        assert_eq!(id.to_string(), "2cd20b7f-055f-83ea-8ca8-567b1383ebaa");
        assert_ne!(id, stamp_id(&namespace, &digest, None));
        assert_ne!(id, stamp_id(&namespace, &Digest::of(b"y"), path.as_ref()));
        assert_ne!(id, stamp_id(&"a.b.d".parse().expect("a namespace"), &digest, path.as_ref()));
    }

    #[test]
    fn an_event_id_shows_its_leaf() {
        let leaf = Leaf::from_bytes([0xff; 32]);
        assert_eq!(event_id(&leaf).to_string(), "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }
}
