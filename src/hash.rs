//! Hashing: the digest of one consistent version of a file, or the reason why there is none.
