//! Git's index, read for one thing: which paths git tracks.
//!
//! Pure: bytes in, paths out, versions 2 to 4, SHA-1 and SHA-256. Promises: any bytes are safe to
//! read; malformed ones give an error and never a part of the paths. The checksum at the end is
//! not verified (git itself may leave it out); the structure is, down to the last byte.

use crate::model::digest::hex;
use crate::watch::filter::Tracked;

/// Larger indexes are not read: at 100 bytes an entry this is some two million files.
pub const INDEX_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What an index says.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    /// The paths in it.
    pub tracked: Tracked,
    /// Of a split index: the hash, in hexadecimal, that names the shared part
    /// (`sharedindex.<hash>`), whose paths belong to it too.
    pub shared: Option<String>,
}

/// The bytes are not an index that we can read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a git index of version 2, 3 or 4")]
pub struct NotAnIndex;

/// Bytes of an entry before its object's hash: times, device, inode, mode, owner, size.
const STAT_BYTES: usize = 40;
const NAME_LEN_MASK: u16 = 0x0fff;
const EXTENDED: u16 = 0x4000;

/// Reads an index.
///
/// # Errors
/// [`NotAnIndex`] when anything in it is not as it should be.
pub fn parse(bytes: &[u8]) -> Result<Index, NotAnIndex> {
    // The index does not say which hash its repository uses; the wrong one never adds up.
    [20, 32].into_iter().find_map(|hash_len| read(bytes, hash_len)).ok_or(NotAnIndex)
}

fn read(bytes: &[u8], hash_len: usize) -> Option<Index> {
    let (mut rest, _checksum) = bytes.split_at_checked(bytes.len().checked_sub(hash_len)?)?;
    let magic = rest.split_off(..4)?;
    let version = take_u32(&mut rest)?;
    if magic != b"DIRC" || !(2..=4).contains(&version) {
        return None;
    }
    let mut tracked = Tracked::default();
    let mut name = Vec::new();
    for _ in 0..take_u32(&mut rest)? {
        take_entry(&mut rest, version, hash_len, &mut name)?;
        // A split index gives entries that replace one of the shared part no name of their own.
        // A sparse index ends directories in a slash.
        let path = name.strip_suffix(b"/").unwrap_or(&name);
        if !path.is_empty() {
            tracked.insert(path);
        }
    }
    let link = extensions(rest)?.into_iter().find(|(name, _)| name == b"link");
    let shared = match link {
        // A hash of zeros says that there is no shared part.
        Some((_, content)) => {
            let hash = content.get(..hash_len)?;
            hash.iter().any(|&byte| byte != 0).then(|| hex(hash))
        }
        None => None,
    };
    Some(Index { tracked, shared })
}

/// Takes one entry off, leaving its name in `name`, which holds the name of the one before.
fn take_entry(rest: &mut &[u8], version: u32, hash_len: usize, name: &mut Vec<u8>) -> Option<()> {
    let start = rest.len();
    rest.split_off(..STAT_BYTES + hash_len)?;
    let flags = u16::from_be_bytes(rest.split_off(..2)?.try_into().ok()?);
    if flags & EXTENDED != 0 {
        if version < 3 {
            return None;
        }
        rest.split_off(..2)?;
    }
    let shared = if version == 4 { name.len().checked_sub(take_offset(rest)?)? } else { 0 };
    name.truncate(shared);
    let end = rest.iter().position(|&byte| byte == 0)?;
    name.extend_from_slice(rest.split_off(..end)?);
    let told = usize::from(flags & NAME_LEN_MASK);
    if told != name.len().min(usize::from(NAME_LEN_MASK)) || name.starts_with(b"/") {
        return None;
    }
    // Up to version 3 one to eight NULs round an entry up to a multiple of eight bytes.
    let padding = if version == 4 { 1 } else { 8 - (start - rest.len()) % 8 };
    rest.split_off(..padding)?.iter().all(|&byte| byte == 0).then_some(())
}

/// What follows the entries: names and contents, to the last byte.
fn extensions(mut rest: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut extensions = Vec::new();
    while !rest.is_empty() {
        let name = rest.split_off(..4)?;
        let len = take_u32(&mut rest)? as usize;
        extensions.push((name, rest.split_off(..len)?));
    }
    Some(extensions)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(rest.split_off(..4)?.try_into().ok()?))
}

/// Takes git's offset encoding off: seven bits a byte, the highest first, each step adding one.
fn take_offset(rest: &mut &[u8]) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let byte = *rest.split_off_first()?;
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An index of version 2 without extensions.
    fn index(names: &[&str], hash_len: usize) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x02".to_vec();
        bytes.extend((names.len() as u32).to_be_bytes());
        for name in names {
            let start = bytes.len();
            bytes.extend(vec![7; STAT_BYTES + hash_len]);
            bytes.extend((name.len() as u16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(vec![0; 8 - (bytes.len() - start) % 8]);
        }
        bytes.extend(vec![9; hash_len]);
        bytes
    }

    #[test]
    fn reads_entries_of_either_hash() {
        for hash_len in [20, 32] {
            let read = parse(&index(&["a", "src/lib.rs", "src/main.rs"], hash_len)).unwrap();
            assert_eq!(read.tracked, ["a", "src/lib.rs", "src/main.rs"].iter().collect());
            assert_eq!(read.shared, None);
        }
        assert!(parse(&index(&[], 20)).unwrap().tracked.is_empty());
    }

    #[test]
    fn a_split_index_names_its_shared_part() {
        let mut bytes = index(&["a"], 20);
        let checksum = bytes.split_off(bytes.len() - 20);
        bytes.extend(b"link\0\0\0\x14");
        bytes.extend([0xab; 20]);
        bytes.extend(checksum);
        assert_eq!(parse(&bytes).unwrap().shared, Some("ab".repeat(20)));
    }

    #[test]
    fn anything_cut_short_or_lengthened_is_refused_whole() {
        let good = index(&["a", "src/lib.rs"], 20);
        for end in 0..good.len() {
            assert_eq!(parse(&good[..end]), Err(NotAnIndex), "cut at {end}");
        }
        assert_eq!(parse(&[&good[..], b"x"].concat()), Err(NotAnIndex));
        let mut huge = good.clone();
        huge[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&huge), Err(NotAnIndex));
    }

    #[test]
    fn offsets_are_read_as_git_writes_them() {
        for (bytes, value) in [(&[0x7f][..], 127), (&[0x80, 0x00], 128), (&[0x81, 0x01], 257)] {
            assert_eq!(take_offset(&mut &*bytes), Some(value));
        }
        assert_eq!(take_offset(&mut &[0xff; 20][..]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe_to_read(
            at in 0..200_usize,
            byte in any::<u8>(),
            noise in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let mut bytes = index(&["a", "src/lib.rs"], 20);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse(&bytes);
            let _ = parse(&[b"DIRC\0\0\0\x04\0\0\0\x02", &noise[..]].concat());
        }
    }
}
