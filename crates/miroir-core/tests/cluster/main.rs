//! The replicated state under commands, told in stories.

mod aliases;
mod control;
mod dumps;
mod groups;
mod kept;
mod losses;
mod moves;
mod operations;
mod refusals;
mod repeats;
mod settings;
mod state;
mod support;
mod swaps;
mod tasks;
mod walk;
