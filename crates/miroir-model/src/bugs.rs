//! Ways to break the protocol, in the model only: each shows that the checker would find the mistake.

use std::fmt;

/// What the modelled parts do wrong. The default is nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Bugs {
    /// The actor starts the work of a phase without its write barrier.
    pub start_without_write_barrier: bool,
    /// The actor starts the work of a phase without its read barrier.
    pub skip_read_barrier: bool,
    /// The actor copies and compares without waiting until A has processed its queue.
    pub copy_before_drain: bool,
    /// The actor does not notice that recorded ids went with a writer.
    pub forget_dirty_on_writer_change: bool,
    /// A new leader takes the recorded ids that it does not have for those that there are.
    pub forget_dirty_on_leader_change: bool,
    /// A write is acknowledged first, and the copies that missed it are taken out of use by a later command.
    pub ack_before_eject: bool,
    /// A new leader does not wait for what a deposed one sent.
    pub skip_takeover_wait: bool,
    /// A lost writer goes on with what it was sending.
    pub write_past_lease: bool,
    /// After C missed a write the actor goes on by the recorded ids, though nobody recorded that one.
    pub keep_trust_after_miss: bool,
    /// The actor reports the copies equal without comparing them. Alone it loses nothing; with one of the others it shows what only the comparison would have caught.
    pub skip_verification: bool,
    /// A writer takes a copy that readers do not use by its own, perhaps old, table for one that will still be
    /// compared, also when it missed a write that the other copy may have.
    pub trust_later_comparison: bool,
}

impl fmt::Debug for Bugs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bugs = *self;
        let made = bugs.by_name().into_iter().filter(|(_, made)| **made);
        f.debug_set().entries(made.map(|(name, _)| name)).finish()
    }
}

impl Bugs {
    /// Makes the mistake of that name.
    ///
    /// # Errors
    /// All names, when there is none such.
    pub fn make(&mut self, name: &str) -> Result<(), Vec<&'static str>> {
        let mut all = self.by_name();
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, made)) => **made = true,
            None => return Err(all.iter().map(|(known, _)| *known).collect()),
        }
        Ok(())
    }

    fn by_name(&mut self) -> [(&'static str, &mut bool); 11] {
        [
            (
                "start_without_write_barrier",
                &mut self.start_without_write_barrier,
            ),
            ("skip_read_barrier", &mut self.skip_read_barrier),
            ("copy_before_drain", &mut self.copy_before_drain),
            (
                "forget_dirty_on_writer_change",
                &mut self.forget_dirty_on_writer_change,
            ),
            (
                "forget_dirty_on_leader_change",
                &mut self.forget_dirty_on_leader_change,
            ),
            ("ack_before_eject", &mut self.ack_before_eject),
            ("skip_takeover_wait", &mut self.skip_takeover_wait),
            ("write_past_lease", &mut self.write_past_lease),
            ("keep_trust_after_miss", &mut self.keep_trust_after_miss),
            ("skip_verification", &mut self.skip_verification),
            ("trust_later_comparison", &mut self.trust_later_comparison),
        ]
    }
}
