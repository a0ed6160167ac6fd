//! Which acknowledgement is due.

use miroir_core::id::Epoch;
use miroir_proto::v1;

use super::inflight::Drained;

/// What one session has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acks {
    sent: Option<Drained>,
}

impl Acks {
    /// The acknowledgement to send now that requests have drained up to `drained`: the first of a session,
    /// or one that says more than the last. It never takes anything back.
    pub(super) fn due(&mut self, drained: Drained) -> Option<v1::Ack> {
        let next = match self.sent {
            None => drained,
            Some(sent) => {
                let next = Drained {
                    writes: sent.writes.max(drained.writes),
                    reads: sent.reads.max(drained.reads),
                };
                if next == sent {
                    return None;
                }
                next
            }
        };
        self.sent = Some(next);
        let Drained {
            writes: Epoch(writes_epoch),
            reads: Epoch(reads_epoch),
        } = next;
        Some(v1::Ack {
            writes_epoch,
            reads_epoch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_every_larger_one_is_sent() {
        let mut acks = Acks::default();
        let mut due = |writes, reads| {
            let ack = acks.due(Drained {
                writes: Epoch(writes),
                reads: Epoch(reads),
            });
            ack.map(|ack| (ack.writes_epoch, ack.reads_epoch))
        };
        let table = [
            ((0, 0), Some((0, 0))),
            ((0, 0), None),
            ((3, 0), Some((3, 0))),
            ((3, 2), Some((3, 2))),
            ((2, 4), Some((3, 4))),
            ((1, 1), None),
        ];
        for ((writes, reads), expected) in table {
            assert_eq!(due(writes, reads), expected, "{writes} {reads}");
        }
    }
}
