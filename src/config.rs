//! Config: flags, environment, file and defaults, layered, with the origin of each value known.
