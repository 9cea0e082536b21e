//! Sinks: the destinations of stamps behind one trait.
