//! Where answers go: a table for people, a line of JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Format;
use crate::exit::Error;

/// A document that a command prints. Its JSON is an interface: fields are added, never renamed.
pub trait View: Serialize {
    /// The same for people, without a line end.
    fn table(&self) -> String;
}

/// Standard output, in the format asked for.
#[derive(Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Prints in `format`.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether a person watches: only then something may move on the screen.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.format == Format::Table && io::stdout().is_terminal()
    }

    /// Whether tables are asked for.
    #[must_use]
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints a document.
    ///
    /// # Errors
    /// [`Error::Output`] when nobody reads it.
    pub fn print(&mut self, view: &impl View) -> Result<(), Error> {
        match self.format {
            Format::Table => self.line(&view.table()),
            Format::Json => {
                let json = serde_json::to_string(view)
                    .map_err(|error| Error::Local(format!("cannot write JSON: {error}")))?;
                self.line(&json)
            }
        }
    }

    /// Prints text with a line end, at once: a program may be waiting for it.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn line(&mut self, text: &str) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }
}
