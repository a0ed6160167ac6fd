//! Placement: the rules of `miroir_core::placement`, checked from outside.

mod changes;
mod errors;
mod format;
mod growth;
mod properties;
mod support;
mod zones;
