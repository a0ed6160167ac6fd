//! The replicated state under commands, told in stories.

mod losses;
mod moves;
mod state;
mod support;
mod walk;
