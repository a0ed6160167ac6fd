//! Helpers shared by the process tests.
