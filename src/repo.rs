//! Repos: what a repo's own config may say, and what of it a person has trusted.

pub mod index;
