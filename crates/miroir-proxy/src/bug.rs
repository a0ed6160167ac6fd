//! Mistakes in the protocol that a drill may switch on, to see that it would notice them.
//!
//! They exist in debug builds with the feature `failpoints` and nowhere else: a release build has none, whatever
//! features it was given.

/// A mistake. Its name, as a failpoint set to `return`, switches it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `bug-ack-before-eject`: a write is acknowledged while copies that missed it stay in use.
    AckBeforeEject,
}

/// Whether a test asked for this mistake.
#[cfg(all(feature = "failpoints", debug_assertions))]
pub(crate) fn is_on(bug: Bug) -> bool {
    let name = match bug {
        Bug::AckBeforeEject => "bug-ack-before-eject",
    };
    fail::eval(name, |_| ()).is_some()
}

/// Never.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
pub(crate) const fn is_on(_: Bug) -> bool {
    false
}

// Known when it is compiled: nothing that is set at run time can switch one on.
#[cfg(not(all(feature = "failpoints", debug_assertions)))]
const _: () = assert!(!is_on(Bug::AckBeforeEject));
