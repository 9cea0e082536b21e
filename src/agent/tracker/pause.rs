//! The pause: nothing is looked at, and the stream says so. What happens meanwhile is found by the
//! comparison that ends it.

use super::Tracker;
use crate::agent::coverage::Cause;
use crate::agent::pause::REASON;
use crate::settle::Settle;

impl Tracker {
    /// Lets go of root and watches. The index keeps what it knows; who waits for a comparison is
    /// told that there is none.
    pub(super) fn pause(&mut self) {
        self.parts.paused = true;
        (self.sight, self.lost, self.root_went) = (None, None, None);
        self.queue.clear();
        self.settle = Settle::new(self.effective.settle.clone());
        self.ending = false;
        drop(self.walks.clear());
        self.waiting.clear();
        let opened = self.gaps.open(Cause::Paused, self.parts.clock.now(), REASON.to_owned());
        self.append_gap(opened);
    }

    /// Looks for the root again and compares everything.
    pub(super) fn resume(&mut self) {
        if !std::mem::take(&mut self.parts.paused) {
            return;
        }
        let closed = self.gaps.close(Cause::Paused, self.parts.clock.now());
        self.append_gap(closed);
        self.find_root();
    }
}
