//! Scanning: walks a repo and compares what it finds with the file index.
