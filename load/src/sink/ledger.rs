//! What one hook took: which events, when, how often, in which order.

use std::time::Duration;

/// An event as its delivery names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Run of the generator.
    pub run: u32,
    /// Number within the run.
    pub index: u32,
    /// Which of the run's chats.
    pub chat: u32,
    /// Place in the tenant's log.
    pub seq: i64,
}

impl Mark {
    /// What the generator writes into the event's `load`.
    pub fn text(run: u32, index: u64, chat: u64) -> String {
        format!("{run} {index} {chat} ")
    }

    /// Reads a payload, as far as that is needed: the first `seq`, which is the event's, and the `load`
    /// of its data.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let seq = after(body, b"\"seq\":")?;
        let end = seq.iter().position(|byte| !byte.is_ascii_digit())?;
        let load = after(body, b"\"load\":\"")?;
        let mut numbers = load
            .split(|&byte| byte == b' ')
            .map(|text| std::str::from_utf8(text).ok()?.parse().ok());
        Some(Self {
            seq: std::str::from_utf8(&seq[..end]).ok()?.parse().ok()?,
            run: numbers.next()??,
            index: numbers.next()??,
            chat: numbers.next()??,
        })
    }
}

fn after<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memmem::find(body, name)?;
    Some(&body[at + name.len()..])
}

/// Deliveries of one run; those of others are let pass uncounted.
#[derive(Debug, Default)]
pub struct Ledger {
    run: u32,
    /// By index, microseconds from the sink's epoch to the first arrival; 0 is none.
    arrivals: Vec<u32>,
    /// By chat, the last place in the log.
    last_seqs: Vec<i64>,
    /// Different events.
    pub taken: usize,
    /// Further deliveries of events that it has.
    pub repeated: usize,
    /// First deliveries that came after a later event of their chat.
    pub disordered: usize,
    /// Calls that were answered with an error.
    pub refused: usize,
    /// Calls that nobody could read.
    pub malformed: usize,
    /// Calls of those looked at whose signature was wrong.
    pub unsigned: usize,
    /// Calls whose signature was looked at.
    pub verified: usize,
}

impl Ledger {
    /// Forgets everything and counts a new run.
    pub fn begin(&mut self, run: u32) {
        *self = Self {
            run,
            ..Self::default()
        };
    }

    /// Counts a delivery that arrived so long after the sink's epoch.
    pub fn take(&mut self, mark: Mark, at: Duration) {
        if mark.run != self.run {
            return;
        }
        let (index, chat) = (mark.index as usize, mark.chat as usize);
        if self.arrivals.len() <= index {
            self.arrivals.resize(index + 1, 0);
        }
        if self.last_seqs.len() <= chat {
            self.last_seqs.resize(chat + 1, 0);
        }
        if self.arrivals[index] != 0 {
            self.repeated += 1;
            return;
        }
        self.arrivals[index] = u32::try_from(at.as_micros()).unwrap_or(u32::MAX).max(1);
        self.taken += 1;
        let last = &mut self.last_seqs[chat];
        self.disordered += usize::from(mark.seq < *last);
        *last = mark.seq.max(*last);
    }

    /// When an event first came, counted from the sink's epoch.
    pub fn arrival(&self, index: u64) -> Option<Duration> {
        let micros = *self.arrivals.get(usize::try_from(index).ok()?)?;
        (micros != 0).then(|| Duration::from_micros(u64::from(micros)))
    }

    /// When the last new event came.
    pub fn last(&self) -> Option<Duration> {
        let micros = self
            .arrivals
            .iter()
            .copied()
            .max()
            .filter(|&micros| micros != 0)?;
        Some(Duration::from_micros(u64::from(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(index: u32, chat: u32, seq: i64) -> Mark {
        Mark {
            run: 1,
            index,
            chat,
            seq,
        }
    }

    #[test]
    fn a_payload_is_read_by_its_names_and_not_by_its_places() {
        let load = Mark::text(3, 17, 2);
        for body in [
            format!("{{\"id\":\"evt_1\",\"seq\":99,\"data\":{{\"load\":\"{load}xxx\"}}}}"),
            format!("{{\"seq\":99, \"chat\":null,\"data\":{{\"seq\":1,\"load\":\"{load}\"}}}}"),
        ] {
            let read = Mark::parse(body.as_bytes()).unwrap();
            let expected = Mark {
                run: 3,
                ..mark(17, 2, 99)
            };
            assert_eq!(read, expected, "{body}");
        }
        for body in ["", "{}", "{\"seq\":1}", "{\"seq\":\"1\",\"load\":\"1 2 3 \"}"] {
            assert_eq!(Mark::parse(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn repetitions_are_no_disorder_and_a_late_first_delivery_is() {
        let mut ledger = Ledger::default();
        ledger.begin(1);
        let second = Duration::from_secs(1);
        for taken in [mark(0, 0, 10), mark(1, 1, 9), mark(2, 0, 12), mark(0, 0, 10)] {
            ledger.take(taken, second);
        }
        assert_eq!((ledger.taken, ledger.repeated, ledger.disordered), (3, 1, 0));
        ledger.take(mark(3, 0, 11), 2 * second);
        assert_eq!((ledger.taken, ledger.disordered), (4, 1));
        assert_eq!(ledger.arrival(3), Some(2 * second));
        assert_eq!((ledger.arrival(4), ledger.last()), (None, Some(2 * second)));
        let other = Mark {
            run: 2,
            ..mark(9, 0, 20)
        };
        ledger.take(other, second);
        assert_eq!(ledger.taken, 4);
    }
}
