//! Settling: decides when a path has been quiet long enough to be hashed.
