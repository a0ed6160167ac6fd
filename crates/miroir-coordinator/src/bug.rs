//! Mistakes in the protocol that a drill may switch on, to see that it would notice them.
//!
//! They exist in debug builds with the feature `failpoints` and nowhere else: a release build has none, whatever
//! features it was given.

/// A mistake. Its name, as a failpoint set to `return`, switches it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `bug-skip-read-barrier`: nobody waits until all proxies read by the newest table.
    SkipReadBarrier,
    /// `bug-forget-dirty`: ids that were recorded by another session of the writer, or for another leader, count as
    /// copied.
    ForgetDirty,
    /// `bug-skip-verification`: a copy is read without having been found equal. On its own it breaks nothing; it takes
    /// away what would catch the others.
    SkipVerification,
}

/// Whether a test asked for this mistake.
#[cfg(all(feature = "failpoints", debug_assertions))]
pub(crate) fn is_on(bug: Bug) -> bool {
    let name = match bug {
        Bug::SkipReadBarrier => "bug-skip-read-barrier",
        Bug::ForgetDirty => "bug-forget-dirty",
        Bug::SkipVerification => "bug-skip-verification",
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
const _: () = assert!(
    !is_on(Bug::SkipReadBarrier) && !is_on(Bug::ForgetDirty) && !is_on(Bug::SkipVerification)
);
