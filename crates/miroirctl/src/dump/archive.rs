//! The archive that a dump is: a tar packed with gzip, read from its beginning to its end.
//!
//! Entries come in any order. Nothing is unpacked to disk, and of what is read no more than a line is in memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

/// Longest line: what Meilisearch takes as one request by default, in bytes.
const LINE_MAX: u64 = 100 << 20;
/// Largest file that is read as a whole, in bytes: settings, and what there is one of.
const WHOLE_MAX: u64 = 32 << 20;
/// What an archive ends with: two blocks of zeros.
const END: u64 = 1_024;

/// What an entry is, by its path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `metadata.json`
    Metadata,
    /// `keys.jsonl`
    Keys,
    /// `tasks/queue.jsonl`
    Queue,
    /// `experimental-features.json`
    Features,
    /// `webhooks.json`
    Webhooks,
    /// `indexes/{directory}/metadata.json`
    IndexMetadata(String),
    /// `indexes/{directory}/settings.json`
    IndexSettings(String),
    /// `indexes/{directory}/documents.jsonl`
    Documents(String),
    /// A file in `chat-completions-settings/`
    Chat,
    /// Anything else, such as documents of tasks that were unfinished.
    Other,
}

/// What is wrong with an archive, in words.
#[derive(Debug)]
pub struct Damage(String);

impl Damage {
    /// Something that is wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// In words, with the file's name.
    pub fn in_file(&self, path: &Path) -> String {
        format!("{}: {}", path.display(), self.0)
    }
}

impl From<io::Error> for Damage {
    fn from(error: io::Error) -> Self {
        // The end of the file inside an entry has no kind of its own.
        if error.kind() == io::ErrorKind::UnexpectedEof || error.to_string().contains("EOF") {
            return Self::new("the archive is truncated");
        }
        Self(format!("the archive is damaged: {error}"))
    }
}

/// An archive in a file.
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
}

impl Archive {
    /// The archive in the file at `path`, which is looked at when it is walked.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows every file in it to `visit`, in their order, and reads to the very end, where the checksum is.
    ///
    /// # Errors
    /// [`Damage`], of the archive or found by `visit`.
    pub fn walk(
        &self,
        mut visit: impl FnMut(&Place, &mut Content<'_>) -> Result<(), Damage>,
    ) -> Result<(), Damage> {
        let file = File::open(&self.path);
        let file = file.map_err(|error| Damage(format!("cannot be read: {error}")))?;
        let mut packed = BufReader::new(file);
        if !packed.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Err(Damage::new("this is no dump: it is not packed with gzip"));
        }
        let mut archive = tar::Archive::new(Ending::new(GzDecoder::new(packed)));
        let mut seen = BTreeSet::new();
        for entry in archive.entries()? {
            let entry = entry?;
            let path = sound_path(&entry.path_bytes())?;
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                continue;
            }
            if !kind.is_file() && !kind.is_contiguous() {
                return Err(Damage(format!(
                    "`{path}` is neither a file nor a directory"
                )));
            }
            let place = Place::of(&path);
            if place != Place::Other && !seen.insert(path.clone()) {
                return Err(Damage(format!("`{path}` is in it twice")));
            }
            let mut content = Content {
                path,
                lines: 0,
                reader: BufReader::with_capacity(1 << 16, Box::new(entry)),
            };
            visit(&place, &mut content)?;
        }
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink())?;
        if rest.zeros < END {
            return Err(Damage::new("the archive is truncated"));
        }
        Ok(())
    }
}

/// The path of an entry, without `.` in it.
fn sound_path(bytes: &[u8]) -> Result<String, Damage> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Damage::new("the path of an entry is no UTF-8"))?;
    let absurd = || Damage(format!("the path `{}` is absurd", text.escape_debug()));
    if text.starts_with('/') || text.contains(['\\', '\0']) {
        return Err(absurd());
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(absurd()),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

impl Place {
    fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["metadata.json"] => Self::Metadata,
            ["keys.jsonl"] => Self::Keys,
            ["tasks", "queue.jsonl"] => Self::Queue,
            ["experimental-features.json"] => Self::Features,
            ["webhooks.json"] => Self::Webhooks,
            ["chat-completions-settings", _] => Self::Chat,
            ["indexes", name, "metadata.json"] => Self::IndexMetadata((*name).to_owned()),
            ["indexes", name, "settings.json"] => Self::IndexSettings((*name).to_owned()),
            ["indexes", name, "documents.jsonl"] => Self::Documents((*name).to_owned()),
            _ => Self::Other,
        }
    }
}

/// What is in one file of the archive.
pub struct Content<'a> {
    path: String,
    lines: u64,
    reader: BufReader<Box<dyn Read + 'a>>,
}

impl Content<'_> {
    /// All of it, as JSON.
    ///
    /// # Errors
    /// [`Damage`] naming the file, when it is none or larger than 32 MiB.
    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Damage> {
        let mut all = Vec::new();
        let read = (&mut self.reader)
            .take(WHOLE_MAX + 1)
            .read_to_end(&mut all)?;
        if read as u64 > WHOLE_MAX {
            return Err(Damage(format!("`{}` is larger than 32 MiB", self.path)));
        }
        serde_json::from_slice(&all)
            .map_err(|error| Damage(format!("`{}` is not as it should be: {error}", self.path)))
    }

    /// The next line that is not empty, into `line`; false at the end.
    ///
    /// # Errors
    /// [`Damage`] naming the file and the line, when it is longer than 100 MiB.
    pub fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, Damage> {
        loop {
            line.clear();
            self.lines += 1;
            let read = (&mut self.reader)
                .take(LINE_MAX + 1)
                .read_until(b'\n', line)?;
            if read == 0 {
                return Ok(false);
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            } else if read as u64 > LINE_MAX {
                return Err(self.wrong("is longer than 100 MiB"));
            }
            if !line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// That something is wrong with the line read last.
    pub fn wrong(&self, why: &str) -> Damage {
        Damage(format!("line {} of `{}` {why}", self.lines, self.path))
    }
}

/// Counts the zeros that were read last: an archive that was cut off between two entries has none at its end.
struct Ending<R> {
    inner: R,
    zeros: u64,
}

impl<R> Ending<R> {
    fn new(inner: R) -> Self {
        Self { inner, zeros: 0 }
    }
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let zeros = buffer[..read].iter().rev().take_while(|b| **b == 0).count();
        self.zeros = if zeros == read {
            self.zeros + zeros as u64
        } else {
            zeros as u64
        };
        Ok(read)
    }
}
