//! The documents of a plan, read from their files piece by piece while earlier pieces are written.

use std::sync::Arc;

use bytes::Bytes;
use miroir_core::hidden_field::{stored_shard, strip_document};
use miroir_core::id::ShardId;
use tokio::sync::mpsc;

use super::archive::{Content, Damage, Place};
use super::contents::document;
use super::plan::{Plan, Source, Take};

/// Size from which a piece is sent, in bytes. A document that is larger goes alone.
const PIECE: usize = 8 << 20;

/// Pieces that wait to be sent.
const WAITING: usize = 1;

/// Documents of one index, as lines.
#[derive(Debug)]
pub struct Piece {
    /// The place of the index in [`Plan::indexes`].
    pub index: usize,
    /// How many there are.
    pub documents: u64,
    /// The documents.
    pub lines: Bytes,
}

/// Begins to read; the pieces come out of the channel, and at last what went wrong, if anything did.
pub fn begin(plan: Arc<Plan>) -> mpsc::Receiver<Result<Piece, String>> {
    let (pieces, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        for source in &plan.sources {
            if let Err(damage) = read(source, &pieces) {
                // Nobody listens when writing has failed first.
                let _ = pieces.blocking_send(Err(damage.in_file(source.archive.path())));
                return;
            }
        }
    });
    receiver
}

fn read(source: &Source, pieces: &mpsc::Sender<Result<Piece, String>>) -> Result<(), Damage> {
    source.archive.walk(|place, content| {
        let Place::Documents(directory) = place else {
            return Ok(());
        };
        match source.takes.get(directory) {
            Some(take) => cut(take, content, pieces),
            None => Ok(()),
        }
    })
}

/// Cuts the documents of one file in the archive into pieces.
fn cut(
    take: &Take,
    content: &mut Content<'_>,
    pieces: &mpsc::Sender<Result<Piece, String>>,
) -> Result<(), Damage> {
    let mut line = Vec::new();
    let mut lines = Vec::new();
    let mut documents = 0;
    let send = |lines: &mut Vec<u8>, documents: &mut u64| {
        let piece = Piece {
            index: take.index,
            documents: std::mem::take(documents),
            lines: Bytes::from(std::mem::take(lines)),
        };
        let sent = pieces.blocking_send(Ok(piece));
        sent.map_err(|_| Damage::new("it is not wanted any more"))
    };
    while content.line(&mut line)? {
        let text = document(content, &line)?;
        if !take.wants(text) {
            continue;
        }
        let text = if take.hidden {
            strip_document(text)
        } else {
            text.into()
        };
        if !lines.is_empty() && lines.len() + text.len() > PIECE {
            send(&mut lines, &mut documents)?;
        }
        lines.extend_from_slice(text.as_bytes());
        lines.push(b'\n');
        documents += 1;
    }
    if documents > 0 {
        send(&mut lines, &mut documents)?;
    }
    Ok(())
}

impl Take {
    fn wants(&self, document: &str) -> bool {
        match &self.shards {
            None => true,
            Some(shards) => stored_shard(document).is_some_and(|s| shards.contains(&ShardId(s))),
        }
    }
}
