//! Syncing: one loop per sink takes stamps from the spool to their destination.
